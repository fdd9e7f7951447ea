// Package service is the domain of the Global Controller: its operations, the description of a meeting controller, and the rule by
// which health follows from three facts. It imports the standard library only; storage, transports, tokens and metrics are
// connected through the small interfaces that it declares.
//
// service.go declares the operations, grouped by caller; controller_service.go, operator_service.go and tool_service.go implement the
// groups. storage.go has every interface of storage.
package service
