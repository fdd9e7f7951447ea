// Package service is the domain of the Global Controller: its operations, and the description of a meeting controller with the rule
// for its health. It imports the standard library only. Storage, transports, tokens and metrics are connected through the small
// interfaces that it declares.
//
// service.go declares the operations, grouped by caller; controller_service.go, operator_service.go and tool_service.go implement the
// groups. storage.go has every interface of storage.
package service
