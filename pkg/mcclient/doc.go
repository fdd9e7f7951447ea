// Package mcclient calls meeting controllers: it asks them to accept meetings. Its connections are pooled and limited, and the
// token of the Global Controller is sent to allowed hosts only.
package mcclient
