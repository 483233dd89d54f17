package engine

import (
	"context"
	"log/slog"
	"net"
	"strings"
	"time"
)

// logRefusal writes the debug line of a request that was refused, with its
// origin if that is why.
func (q *request) logRefusal(code result, reason, origin string) {
	ctx, log := context.Background(), q.config.Logger
	if !log.Enabled(ctx, slog.LevelDebug) {
		return
	}
	event := "handshake"
	if q.sid != "" {
		event = "request" // of a session
	}
	attrs := []slog.Attr{slog.String("event", event), slog.String("code", resultNames[code]), slog.String("reason", reason)}
	if origin != "" {
		attrs = append(attrs, slog.String("origin", origin))
	}
	log.LogAttrs(ctx, slog.LevelDebug, "refused", append(attrs, slog.String("remote_ip", q.info.RemoteIP))...)
}

// maxName bounds what is kept and logged of the name of a host.
const maxName = 256 // bytes

// refuseOrigin refuses a request because of its Origin. The operator is warned
// with the remedy, once an hour for each origin. What is logged is the origin
// alone: some clients send a whole URL, which may have secrets in it.
func (q *request) refuseOrigin() {
	header := q.r.Header.Get("Origin")
	from, ok := parseOrigin(header)
	name := from.scheme + "://" + from.host
	switch {
	case header == "":
		q.logRefusal(foreign, "a cross-site request without Origin", "")
	case header == "null":
		q.logRefusal(foreign, "Origin not allowed", "null")
		q.warnOfOrigin("null", "it is a local file or in a sandboxed frame and has no origin: serve it from a site; "+
			"origins null would allow every such page")
	case !ok || len(name) > maxName:
		q.logRefusal(foreign, "Origin not allowed", "malformed")
		q.warnOfOrigin("malformed", "its header Origin is not of the form scheme://host[:port]")
	default:
		q.logRefusal(foreign, "Origin not allowed", name)
		q.warnOfOrigin(name, q.remedy(from, "add "+name+" to the option origins of realtime"))
	}
	q.refuse(errForbidden)
}

func (q *request) warnOfOrigin(name, remedy string) {
	ctx, log := context.Background(), q.config.Logger
	if !log.Enabled(ctx, slog.LevelWarn) || !q.server.notices.Due(name, time.Duration(q.server.now())) {
		return
	}
	host := q.r.Host
	log.LogAttrs(ctx, slog.LevelWarn, "refused a page of another origin: "+remedy, slog.String("origin", name),
		slog.String("host", host[:min(len(host), maxName)]), slog.String("remote_ip", q.info.RemoteIP))
}

// remedy is what most likely helps a page of an origin that was refused, which
// allow would let in.
func (q *request) remedy(from origin, allow string) string {
	own, _ := newOrigin("http", q.r.Host)
	switch {
	case from.scheme == "https" && q.r.TLS == nil && from.host == own.host:
		return "the page came by https and its request by http: if a proxy in front ends TLS, name it in trusted_proxies " +
			"of the server and have it send X-Forwarded-Proto; else " + allow
	case q.r.Header.Get("Sec-Fetch-Site") == "same-origin":
		return "for the browser it is the same origin, so a proxy in front changes the header Host: have it keep Host " +
			"(with Vite's server.proxy, remove changeOrigin), or " + allow
	case isLoopback(from.host):
		return "if it may connect, " + allow + "; if a development server passes its requests on, have that keep the header Host " +
			"(with Vite's server.proxy, remove changeOrigin)"
	}
	return "if it may connect, " + allow
}

// isLoopback reports whether a host, with or without a port, is this computer.
func isLoopback(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || ip != nil && ip.IsLoopback()
}
