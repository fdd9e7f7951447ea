// Package service is the domain of the Global Controller: what a meeting controller is, what may be said about
// one, and how its health follows from three facts. It imports the standard library only; storage, transports,
// tokens and metrics reach it through the small interfaces that it declares.
package service
