package realtime

import (
	"cmp"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// Requests with a session id or a token skip Caddy's access log, which shows
// URIs as they came. In their place each session has one line, where the access
// log of its site goes: when it ends, as that of any other request, and with
// nothing that proves an identity. So has a handshake with a token that was
// refused. Without an access log there is none.

// accessRecord is what a session's line will say. It is safe for concurrent
// use.
type accessRecord struct {
	// Static after construction.
	instance *instance
	loggers  []string // names below http.log.access; "" is that itself
	request  accessRequest
	status   int
	opened   time.Time

	mu       sync.Mutex
	socketID string // of the first socket; guarded by mu
	userID   string // of the first that has one; guarded by mu
}

// accessRequest has the names that Caddy's access log gives to what it has, too.
type accessRequest struct {
	RemoteIP string `json:"remote_ip"`
	ClientIP string `json:"client_ip"`
	Proto    string `json:"proto"`
	Method   string `json:"method"`
	Host     string `json:"host"`
	URI      string `json:"uri"` // the path alone
}

// newAccessRecord returns the record of a handshake, nil if its site has no access
// log.
func newAccessRecord(i *instance, r *http.Request) *accessRecord {
	loggers := accessLoggers(r)
	if len(loggers) == 0 {
		return nil
	}
	ip, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	a := &accessRecord{instance: i, loggers: loggers, status: http.StatusOK, opened: time.Now(), request: accessRequest{
		RemoteIP: beginning(hostOf(r.RemoteAddr)), ClientIP: beginning(ip), Proto: beginning(r.Proto), Method: beginning(r.Method), Host: beginning(r.Host),
		URI: beginning(originalURL(r).EscapedPath()),
	}}
	if r.ProtoMajor == 1 && r.Header.Get("Upgrade") != "" {
		a.status = http.StatusSwitchingProtocols
	}
	return a
}

// beginning is the printable beginning of a text, without what it shares memory
// with: the whole first line of the request, as long as the session lives.
func beginning(text string) string {
	const most = 1 << 10
	return strings.Clone(printable(text[:min(len(text), most)]))
}

// Joined implements hub.SessionObserver.
func (a *accessRecord) Joined(socketID, userID string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.socketID = cmp.Or(a.socketID, socketID)
	a.userID = cmp.Or(a.userID, userID)
}

// Ended implements hub.SessionObserver.
func (a *accessRecord) Ended(reason string) {
	a.mu.Lock()
	socketID, userID := a.socketID, a.userID
	a.mu.Unlock()
	a.write("handled session", a.status, "user_id", printable(userID), "socket_id", socketID, "reason", reason)
}

// answered writes the line of a request that opened no session. a may be nil.
func (a *accessRecord) answered(status int) {
	if a != nil && status >= http.StatusBadRequest {
		a.write("handled request", status)
	}
}

func (a *accessRecord) write(message string, status int, more ...any) {
	log := a.instance.accessLogger()
	if log == nil {
		return // nothing is configured any more
	}
	for _, name := range a.loggers {
		log(name, message, append([]any{"request", a.request, "duration", time.Since(a.opened), "status", status}, more...)...)
	}
}

// An accessLogger writes a line to the access logger of that name, with keys
// and values in turn.
type accessLogger func(name, message string, keysAndValues ...any)

// newAccessLogger writes to the logs of ctx's config.
func newAccessLogger(ctx caddy.Context) accessLogger {
	log := ctx.Logger(new(caddyhttp.App)).Named("log.access")
	return func(name, message string, keysAndValues ...any) {
		l := log
		if name != "" {
			l = l.Named(name)
		}
		l.Sugar().Infow(message, keysAndValues...)
	}
}

// accessLoggers are the names of the loggers that get r's line in the access
// log; none if there is no line.
func accessLoggers(r *http.Request) []string {
	ctx := r.Context()
	server, _ := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if skip, _ := caddyhttp.GetVar(ctx, caddyhttp.LogSkipVar).(bool); skip || server == nil || server.Logs == nil {
		return nil
	}
	mapped, names := loggersOf(server.Logs, hostOf(r.Host))
	if given, ok := caddyhttp.GetVar(ctx, caddyhttp.AccessLoggerNameVarKey).([]any); ok && mapped {
		names = names[:0:0]
		for _, name := range given {
			names = append(names, caddy.ToString(name))
		}
	}
	return names
}

// loggersOf are the names of a host's loggers. It is false if its requests are
// not logged.
func loggersOf(logs *caddyhttp.ServerLogConfig, host string) (logged bool, names []string) {
	patterns := hostPatterns(strings.ToLower(host))
	for _, pattern := range patterns {
		if names, ok := logs.LoggerNames[pattern]; ok {
			return true, names
		}
	}
	skipped := slices.ContainsFunc(patterns, func(p string) bool { return slices.Contains(logs.SkipHosts, p) })
	if skipped || logs.SkipUnmappedHosts {
		return false, nil
	}
	return true, []string{logs.DefaultLoggerName}
}

// hostPatterns are the names by which a host may be configured: itself,
// *.example.com, *.*.com …
func hostPatterns(host string) []string {
	patterns := []string{host}
	labels := strings.Split(host, ".")
	for i := range labels {
		labels[i] = "*"
		patterns = append(patterns, strings.Join(labels, "."))
	}
	return patterns
}

// hostOf is an address without its port.
func hostOf(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return host
}
