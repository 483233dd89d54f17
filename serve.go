package realtime

import (
	"crypto/tls"
	"net/http"
	"net/netip"
	"net/url"
	"reflect"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-realtime/realtime/engine"
	"github.com/caddy-realtime/realtime/hub"
)

// ServeHTTP answers requests below the path and passes on the others. For its
// own it never returns an error: Caddy would log the request's URI, and with
// it the session's secret.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	own := h.match(r)
	if own == nil {
		return next.ServeHTTP(w, r)
	}
	if h.Client != "" && serveClient(w, own, h.Client, strings.TrimPrefix(own.URL.Path, h.base+"/")) {
		return nil
	}
	opens := engine.IsHandshake(own)
	var access *accessRecord // a session has one already
	if opens {
		access = newAccessRecord(h.instance, r) // while log_skip is only set if the site set it
	}
	answer := &answer{ResponseWriter: w}
	if hasSecrets(r) {
		caddyhttp.SetVar(r.Context(), caddyhttp.LogSkipVar, true)
		defer func() { access.answered(answer.status) }()
	}
	if isEarly(r) {
		h.logRefusal(r, "early_data", "TLS early data could be a replay")
		answer.WriteHeader(http.StatusTooEarly)
		return nil
	}
	server := h.instance.hubFor(h.generation)
	if server == nil {
		h.logRefusal(r, "failed", "the hub is closed")
		answer.WriteHeader(http.StatusServiceUnavailable)
		return nil
	}
	if r.Method == http.MethodConnect {
		// A WebSocket over HTTP/2 or 3: a client may be silent for longer
		// than the idle limit of a request body (60s by default). The
		// engine's heartbeat finds the dead ones.
		if body, _ := caddyhttp.IdleTimeoutsFromContext(r.Context()); body != nil {
			defer body.Override(24*time.Hour, 0)()
		}
	}
	var opening *hub.Opening
	if opens {
		opening = h.opening(own, access)
	}
	server.Serve(answer, asSeenOutside(own), h.info(own), opening)
	if answer.status == 0 && r.Header.Get("Upgrade") != "" {
		record(w, http.StatusSwitchingProtocols)
	}
	return nil
}

// logRefusal writes the debug line of a request that does not get as far as the
// engine, which writes those of the others.
func (h *Handler) logRefusal(r *http.Request, code, reason string) {
	ip, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	h.generation.config.Logger.Debug("refused", "event", "request", "code", code, "reason", reason, "remote_ip", ip)
}

// record gives the recorders of Caddy around w, which logs and metrics read, the
// status of a connection that was upgraded without them. A recorder passes on
// what it gets, and net/http would note in its debug log that the connection is
// not its own any more: so it is cut off meanwhile.
func record(w http.ResponseWriter, status int) {
	for {
		if recorder, ok := w.(caddyhttp.ResponseRecorder); ok {
			if inner := wrapperOf(recorder); inner != nil {
				was := inner.ResponseWriter
				inner.ResponseWriter = mute{was}
				recorder.WriteHeader(status)
				inner.ResponseWriter = was
			}
		}
		u, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return
		}
		w = u.Unwrap()
	}
}

// mute drops a status.
type mute struct{ http.ResponseWriter }

func (mute) WriteHeader(int) {}

// wrapperOf is what a recorder of Caddy embeds; nil if it is another's. Their
// type is not exported, but the field is.
func wrapperOf(recorder caddyhttp.ResponseRecorder) *caddyhttp.ResponseWriterWrapper {
	v := reflect.Indirect(reflect.ValueOf(recorder))
	if v.Kind() != reflect.Struct {
		return nil
	}
	f, ok := v.Type().FieldByName("ResponseWriterWrapper")
	if !ok || len(f.Index) != 1 {
		return nil
	}
	inner, _ := v.FieldByIndex(f.Index).Interface().(*caddyhttp.ResponseWriterWrapper)
	return inner
}

// answer notes the status of the response that is given through it; one
// without is an upgraded connection.
type answer struct {
	http.ResponseWriter
	status int
}

func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(p []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	return a.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// match returns the request if it is below the path, nil otherwise. A request
// that was rewritten away from it (by try_files, say) counts as it was.
func (h *Handler) match(r *http.Request) *http.Request {
	if h.inside(r.URL) {
		return r
	}
	original := originalURL(r)
	if !h.inside(original) {
		return nil
	}
	asked := *r
	asked.URL = original
	return &asked
}

// originalURL is the one that the client asked for.
func originalURL(r *http.Request) *url.URL {
	original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request)
	if !ok || original.URL == nil {
		return r.URL
	}
	return original.URL
}

// inside also takes the path without its slash, which is what clients with
// addTrailingSlash: false ask for.
func (h *Handler) inside(u *url.URL) bool {
	rest, ok := strings.CutPrefix(u.Path, h.base)
	return ok && (rest == "" || rest[0] == '/')
}

// asSeenOutside returns r as a request over TLS if a trusted proxy in front
// says that it came to it that way: the same origin is an https one then.
func asSeenOutside(r *http.Request) *http.Request {
	trusted, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool)
	if !trusted || r.TLS != nil || !isForwardedTLS(r.Header.Get("X-Forwarded-Proto")) {
		return r
	}
	outside := *r
	outside.TLS = &tls.ConnectionState{HandshakeComplete: true}
	return &outside
}

// isForwardedTLS reports whether an X-Forwarded-Proto header stands for TLS. Of
// a list, which is what a chain of proxies makes, the first is what the client
// used. Traefik sends wss for a WebSocket.
func isForwardedTLS(header string) bool {
	proto, _, _ := strings.Cut(header, ",")
	proto = strings.TrimSpace(proto)
	return strings.EqualFold(proto, "https") || strings.EqualFold(proto, "wss")
}

// isEarly reports whether r came as TLS early data, which anybody who saw it
// can send again: in HTTP/3 before the handshake is complete, or to a proxy in
// front that says so (RFC 8470). Over TCP, Go's TLS takes no early data.
func isEarly(r *http.Request) bool {
	return r.TLS != nil && !r.TLS.HandshakeComplete || r.Header.Get("Early-Data") == "1"
}

// opening is what the session that r opens will keep of it; nil: nothing. access
// may be nil.
func (h *Handler) opening(r *http.Request, access *accessRecord) *hub.Opening {
	credentials := h.generation.needs.collect(r)
	switch {
	case access != nil:
		return &hub.Opening{Credentials: credentials, Observer: access}
	case credentials.Empty():
		return nil
	}
	return &hub.Opening{Credentials: credentials}
}

// info is what this side of the engine knows of a request.
func (h *Handler) info(r *http.Request) engine.Info {
	ip, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	return engine.Info{
		RemoteIP: ip,
		Exempt:   h.exempt(r, ip),
		Origins:  h.origins,
		Identity: userInFront(r),
		Secrets:  h.generation.needs.secrets,
	}
}

// exempt reports whether limits per address would hit many clients at once:
// ip is not public, and no proxy that the server trusts has told it. Whoever
// sees the warning either has only local clients or should trust his proxy.
func (h *Handler) exempt(r *http.Request, ip string) bool {
	if trusted, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool); trusted {
		return false
	}
	a, err := netip.ParseAddr(ip)
	a = a.Unmap()
	if err == nil && !a.IsPrivate() && !a.IsLoopback() && !a.IsLinkLocalUnicast() {
		return false
	}
	if h.instance.exempted.CompareAndSwap(false, true) {
		h.generation.config.Logger.Warn("clients without a public address are exempt from limits per address; "+
			"if they come through a proxy, name it in the trusted_proxies of the server", "remote_ip", ip)
	}
	return true
}

// hasSecrets reports whether an access log line of r, which shows the original
// request, could contain a session id or a token. Caddy redacts Authorization
// and Cookie itself.
func hasSecrets(r *http.Request) bool {
	for _, protocols := range r.Header.Values("Sec-Websocket-Protocol") {
		if strings.Contains(strings.ToLower(protocols), "bearer") {
			return true
		}
	}
	original := originalURL(r)
	return hasSecretQuery(r.URL) || original.RawQuery != r.URL.RawQuery && hasSecretQuery(original)
}

// hasSecretQuery takes whatever Engine.IO does not need in the first request
// of a session for a secret: socket.io-client's option query is where many
// apps put their tokens.
func hasSecretQuery(u *url.URL) bool {
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return true
	}
	for key := range query {
		switch key {
		case "EIO", "transport", "t", "b64":
		default:
			return true
		}
	}
	return false
}
