package httptransport

import (
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"time"

	"darktower.example/global-controller/endpoints"
	"darktower.example/global-controller/service"
)

type object = map[string]any

// optionalBody is the body of a request that may omit it.
type optionalBody struct{ body any }

var pathParameter = regexp.MustCompile(`\{(\w+)\}`)

// openAPI returns the OpenAPI 3.1 document of the routes.
func openAPI(routes []route) object {
	paths, usedIDs := object{}, map[string]bool{}
	for _, r := range routes {
		item, ok := paths[r.pattern].(object)
		if !ok {
			item = object{}
			paths[r.pattern] = item
		}
		operation := describeOperation(r)
		if usedIDs[r.operation] {
			// An operation may have a second route, but ids must be unique.
			operation["operationId"] = r.operation + "OfController"
		}
		usedIDs[r.operation] = true
		item[strings.ToLower(r.method)] = operation
	}

	return object{
		"openapi": "3.1.0",
		"info": object{
			"title":       "Global Controller",
			"version":     "1",
			"description": "Registers meeting controllers, stores their heartbeats, and shows the fleet.",
		},
		// The URL is relative to the document, which may be served below a path prefix.
		"servers": []any{object{"url": "."}},
		"paths":   paths,
		"components": object{
			"schemas":         object{"Error": schemaOf(reflect.TypeFor[errorBody]())},
			"securitySchemes": object{"bearer": object{"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
		},
		"security": []any{object{"bearer": []string{}}},
	}
}

// describeOperation describes one route.
func describeOperation(r route) object {
	responses := object{
		"default": content("An error", object{"$ref": "#/components/schemas/Error"}),
		"200":     content("Success", schemaOf(reflect.TypeOf(r.response))),
	}
	if _, ok := r.response.(watchBodies); ok {
		schema := schemaOf(reflect.TypeOf(r.response))
		responses["200"] = object{"description": watchDescription, "content": object{eventStream: object{"schema": schema}}}
	}

	op := object{
		"operationId": r.operation,
		"summary":     r.summary,
		"description": "Needs " + scopeText(r.operation) + ".",
		"responses":   responses,
	}
	if parameters := describeParameters(r); len(parameters) > 0 {
		op["parameters"] = parameters
	}
	if r.request != nil {
		op["requestBody"] = describeRequestBody(r.request)
	}
	return op
}

// describeParameters describes the parameters of a route's path and query.
func describeParameters(r route) []any {
	var parameters []any
	for _, match := range pathParameter.FindAllStringSubmatch(r.pattern, -1) {
		schema := object{"type": "string", "maxLength": 255, "pattern": "^[A-Za-z0-9_-]+$"}
		parameters = append(parameters, object{"name": match[1], "in": "path", "required": true, "schema": schema})
	}

	for _, name := range r.query {
		schema := object{"type": "string"}
		switch name {
		case "loads":
			schema = object{"type": "boolean", "default": false}
		case "after":
			schema = object{
				"type":        "string",
				"pattern":     "^[0-9]+(-[0-9a-fA-F]+)?$",
				"description": "A cursor of an earlier response, or the id of a transition",
			}
		case "expected_generation":
			schema = object{"type": "integer", "minimum": 0}
		case "page_size":
			schema = object{"type": "integer", "minimum": 1, "maximum": service.MaxPageSize, "default": service.DefaultPageSize}
		}
		parameters = append(parameters, object{"name": name, "in": "query", "schema": schema})
	}
	return parameters
}

// describeRequestBody describes the body of a request.
func describeRequestBody(request any) object {
	required := true
	if optional, ok := request.(optionalBody); ok {
		request, required = optional.body, false
	}
	body := content("", schemaOf(reflect.TypeOf(request)))
	delete(body, "description")
	body["required"] = required
	return body
}

func content(description string, schema object) object {
	return object{"description": description, "content": object{"application/json": object{"schema": schema}}}
}

// scopeText names the scope of an operation.
func scopeText(name string) string {
	for _, op := range endpoints.Operations() {
		if op.Name == name {
			switch op.Scope {
			case endpoints.ScopeSelf:
				return "the scope " + string(endpoints.ScopeAdmin)
			case endpoints.ScopeReadAssign:
				return "the scope " + string(endpoints.ScopeAssign) + " or " + string(endpoints.ScopeRead)
			case endpoints.ScopeMC:
				return "a scope of meeting controllers (mc:register or service.write.gc by default)"
			}
			return "the scope " + string(op.Scope)
		}
	}
	return "no token"
}

// schemaOf returns the schema of a body's type. A pointer may be null.
func schemaOf(t reflect.Type) object {
	switch {
	case t == reflect.TypeFor[time.Time]():
		return object{"type": "string", "format": "date-time"}
	case t == reflect.TypeFor[health]():
		return object{"type": "string", "enum": service.HealthStatuses()}
	case t.Kind() == reflect.Pointer:
		schema := schemaOf(t.Elem())
		if kind, ok := schema["type"].(string); ok {
			schema["type"] = []string{kind, "null"}
		}
		return schema
	}

	switch t.Kind() {
	case reflect.Struct:
		return structSchema(t)
	case reflect.Map:
		return object{"type": "object", "additionalProperties": schemaOf(t.Elem())}
	case reflect.Slice:
		return object{"type": "array", "items": schemaOf(t.Elem())}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Int, reflect.Int64:
		return object{"type": "integer"}
	case reflect.Float64:
		return object{"type": "number"}
	case reflect.String:
		return object{"type": "string"}
	default:
		//nolint:forbidigo // A mistake in a body's type, which every test of the handler finds.
		panic(fmt.Sprintf("schemaOf has no schema for the type %v: add its kind", t))
	}
}

// structSchema returns the schema of a body's struct. The tag openapi:"required" marks required members. The members of an embedded
// struct are members of the struct.
func structSchema(t reflect.Type) object {
	properties, required := object{}, []string{}
	for _, field := range reflect.VisibleFields(t) {
		if field.Anonymous {
			continue
		}
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		properties[name] = schemaOf(field.Type)
		if field.Tag.Get("openapi") == "required" {
			required = append(required, name)
		}
	}

	schema := object{"type": "object", "properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		schema["required"] = required
	}
	return schema
}
