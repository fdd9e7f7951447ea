// Package placement chooses a controller for a meeting and explains the choice. It is pure: it has no clock, no storage and no
// randomness of its own, and imports the standard library only. Everything that decides about placement calls it, so that the
// choice, its explanation, drain plans and what-if figures follow one rule.
package placement
