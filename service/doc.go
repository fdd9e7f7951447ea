// Package service is the domain of the Global Controller: what a meeting controller is, how it is described, and how its health
// follows from three facts. It imports the standard library only; storage, transports, tokens and metrics are connected through the
// small interfaces that it declares.
//
// service.go declares the operations, grouped by caller; controller_service.go, operator_service.go and tool_service.go implement the
// groups. storage.go has every interface of storage.
package service
