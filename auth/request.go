package auth

import "encoding/json"

// Request is what the request that opened a session brings to prove who sent it,
// in addition to what comes with CONNECT. It is immutable; the zero Request
// brings nothing.
type Request struct {
	Tokens Credentials
	// User is the user whom an authentication handler found that the request
	// passed before; "" if there is none.
	User string
	// Claims are what that handler says of the user, as JSON.
	Claims map[string]json.RawMessage
}

// Empty reports whether the request brings nothing.
func (r *Request) Empty() bool { return r.Tokens.Empty() && r.User == "" && r.Claims == nil }
