package httptransport

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"darktower.example/global-controller/service"
)

// fromQuery reads the parameters of a query strictly. If an invalid parameter were ignored, the caller would get the whole fleet
// instead of a part.
func fromQuery(r *http.Request, known ...string) (url.Values, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, badInput("the query is malformed")
	}
	for name, all := range values {
		switch {
		case !slices.Contains(known, name):
			return nil, badInput("unknown parameter " + truncateName(name))
		case len(all) > 1:
			return nil, badInput("repeated parameter " + name)
		}
	}
	return values, nil
}

// pageSize returns 0 if the parameter is missing.
func pageSize(values url.Values) (int64, error) {
	value := values.Get("page_size")
	if value == "" {
		return 0, nil
	}
	size, err := strconv.ParseInt(value, 10, 64)
	if err != nil || size < 1 {
		return 0, badInput("page_size must be between 1 and " + strconv.Itoa(service.MaxPageSize))
	}
	return size, nil
}

// generationParameter returns nil if the parameter is missing.
func generationParameter(values url.Values) (*int64, error) {
	if !values.Has("expected_generation") {
		return nil, nil //nolint:nilnil // A missing generation is a result here, not an error.
	}
	generation, err := naturalNumber(values, "expected_generation")
	return &generation, err
}

// timeParameter returns the zero time if the parameter is missing.
func timeParameter(values url.Values, name string) (time.Time, error) {
	value := values.Get(name)
	if value == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, value)
	if err != nil {
		return time.Time{}, badInput(name + invalidTimeSuffix)
	}
	return t.UTC(), nil
}

// naturalNumber returns the value of a whole number that is 0 or more.
func naturalNumber(values url.Values, name string) (int64, error) {
	n, err := strconv.ParseInt(values.Get(name), 10, 64)
	if err != nil || n < 0 {
		return 0, badInput(name + " must be a whole number, 0 or more")
	}
	return n, nil
}
