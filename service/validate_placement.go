package service

// The maximum sizes of a request for a controller.
const (
	maxLabels        = 16
	maxLabelKeyBytes = 317 // a DNS prefix of 253 bytes, a slash and a name of 63 bytes, as in Kubernetes
	maxLabelBytes    = 63
	maxExcluded      = 16
	maxSpillRegions  = 8
)

// Validate checks the key.
func (k AssignmentKey) Validate() error {
	return firstError(
		validateName("meeting_id", k.MeetingID, maxIDBytes),
		validateName("region", k.Region, maxRegionBytes),
	)
}

// Validate checks the request.
func (r AssignRequest) Validate() error {
	return firstError(
		r.AssignmentKey.Validate(),
		validateLoad("expected_participants", r.ExpectedParticipants),
		validateOptionalName("org_id", r.OrgID),
		validateOptionalName("series_id", r.SeriesID),
		validateLabels("require_labels", r.RequireLabels),
		validateLabels("prefer_labels", r.PreferLabels),
		validateNames("exclude_controllers", r.ExcludeControllers, maxExcluded, maxIDBytes),
		validateNames("spill_regions", r.SpillRegions, maxSpillRegions, maxRegionBytes),
	)
}

// Validate checks the query. The page token is checked where it is decoded.
func (q AssignmentListQuery) Validate() error {
	return firstError(
		validateOptionalName("meeting_id", q.MeetingID),
		validateOptionalName("controller_id", q.ControllerID),
		validateOptionalName("region", q.Region),
		validatePageSize(q.PageSize),
	)
}

// Validate checks the order.
func (e AssignmentEnd) Validate() error {
	return firstError(e.AssignmentKey.Validate(), validateReason(e.Reason))
}

func validateOptionalName(field, value string) error {
	if value == "" {
		return nil
	}
	return validateName(field, value, maxIDBytes)
}

func validateNames(field string, values []string, maxValues, maxBytes int) error {
	if len(values) > maxValues {
		return Invalid(field + " has too many values")
	}
	for _, value := range values {
		if err := validateName("a value of "+field, value, maxBytes); err != nil {
			return err
		}
	}
	return nil
}

// validateLabels checks labels in the form that Kubernetes uses, except that the order of characters is not examined.
func validateLabels(field string, labels map[string]string) error {
	if len(labels) > maxLabels {
		return Invalid(field + " has too many labels")
	}
	for key, value := range labels {
		switch {
		case key == "" || len(key) > maxLabelKeyBytes || !isLabelText(key, true):
			return Invalid(field + " has an invalid key")
		case len(value) > maxLabelBytes || !isLabelText(value, false):
			return Invalid(field + " has an invalid value")
		}
	}
	return nil
}

func isLabelText(s string, isKey bool) bool {
	for i := range len(s) {
		c := s[i]
		if !isAlphanumeric(c) && c != '-' && c != '_' && c != '.' && (!isKey || c != '/') {
			return false
		}
	}
	return true
}
