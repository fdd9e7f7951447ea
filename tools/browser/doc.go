// Package browser holds the tests of the web page in a real Chromium. They are a module of their own, so that the product
// does not name what only they need. tools/browser/run.sh runs them.
package browser
