// Package browser tests the web page in Chromium. It is a module of its own, so that the product's module does not list what only
// these tests need. tools/browser/run.sh runs them.
package browser
