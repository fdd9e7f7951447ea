// Package watch serves the changes of the fleet to many watches. One [Hub] reads the store for all of them.
//
// A transition is an entry of the history. A change is what a watch sends about one controller, with or without a transition.
//
// A poller (poller.go) reads the store and publishes views (view.go), which never change. Slow reads run in the background
// (background.go). Each watch holds a position in a view and in the log of events. A watch resumes on this path:
//
//  1. watch.go: Watch waits for a poll if there is no view or the cursor is newer (wait.go), and calls resume.
//  2. fingerprints.go: the cursor of another history leads to a snapshot.
//  3. share.go: the watch begins with the same view as other new watches, and shares their encoded parts.
//  4. log.go: the log finds the first event to send again. It drops the oldest events, so it may not have that event.
//  5. resume.go: the watch gets its position: in the live events, in the transitions with a fleet pass, or at a snapshot.
//  6. step.go: each call of Next determines one step: send an event, or wait. turns.go limits how many watches send at a time.
//  7. passes.go: after the changes, the watch sends the loads that it has missed, and in a fleet pass every controller.
//
// After that the watch follows the log. Its cursor is the id up to which all transitions were seen (seen_ids.go).
package watch
