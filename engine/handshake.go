package engine

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-realtime/realtime/internal/rawjson"
)

// openPacket is the handshake of Engine.IO v4.
func openPacket(s *Session, websocket bool) *Frames {
	upgrades := ""
	if !websocket && !s.config.NoWebSocket {
		upgrades = `"websocket"`
	}
	return packetFrames(fmt.Sprintf(`0{"sid":%q,"upgrades":[%s],"pingInterval":%d,"pingTimeout":%d,"maxPayload":%d}`,
		s.id, upgrades, s.config.PingInterval.Milliseconds(), s.config.PingTimeout.Milliseconds(), s.config.MaxPayload))
}

// A handshake is kept as long as its session. What does not fit is left out of
// it: headers and parameters in the order of their names, the end of the URL.
const (
	maxHandshake = 16 << 10 // bytes
	maxURL       = 4 << 10
)

// secretHeaders and secretKeys never get into a handshake, which rules, the
// app, logs and other nodes see.
var (
	secretHeaders = []string{
		"Cookie", "Authorization", "Proxy-Authorization", "Sec-Websocket-Key", "Sec-Websocket-Protocol", ":protocol",
		"X-Forwarded-Uri", "X-Original-Uri", "X-Original-Url", "X-Rewrite-Url", // of proxies: the URL with its query
	}
	secretKeys = []string{"token", "sid", "pid", "access_token"}
)

// hides reports whether a key of the query is secret.
func (i Info) hides(key string) bool {
	return slices.Contains(secretKeys, key) || slices.Contains(i.Secrets, key)
}

// handshakeJSON describes the first request of a session as Socket.IO does.
func handshakeJSON(r *http.Request, query url.Values, info Info) []byte {
	now := time.Now()
	b := make([]byte, 0, 1<<10)
	b = append(b, `{"headers":`...)
	b = appendHeaders(b, r)
	b = append(b, `,"time":`...)
	b = rawjson.AppendQuote(b, now.UTC().Format("Mon Jan 02 2006 15:04:05 GMT+0000 (Coordinated Universal Time)"))
	b = append(b, `,"address":`...)
	b = rawjson.AppendQuote(b, info.RemoteIP)
	b = append(b, `,"xdomain":`...)
	b = strconv.AppendBool(b, r.Header.Get("Origin") != "")
	b = append(b, `,"secure":`...)
	b = strconv.AppendBool(b, r.TLS != nil)
	b = append(b, `,"issued":`...)
	b = strconv.AppendInt(b, now.UnixMilli(), 10)
	b = append(b, `,"url":`...)
	asked := publicURL(r.URL, info)
	b = rawjson.AppendQuote(b, asked[:min(len(asked), maxURL)])
	b = append(b, `,"query":{`...)
	for _, k := range slices.Sorted(maps.Keys(query)) {
		if !info.hides(k) {
			b = appendMember(b, k, last(query[k]))
		}
	}
	return bytes.Clone(append(b, "}}"...)) // exact: it lives as long as the session
}

func appendHeaders(b []byte, r *http.Request) []byte {
	b = append(b, `{"host":`...)
	b = rawjson.AppendQuote(b, r.Host)
	for _, k := range slices.Sorted(maps.Keys(r.Header)) {
		if slices.Contains(secretHeaders, k) {
			continue
		}
		b = appendMember(b, strings.ToLower(k), strings.Join(r.Header[k], ", "))
	}
	return append(b, '}')
}

// appendMember appends to a JSON object, unless that makes b too long.
func appendMember(b []byte, key, value string) []byte {
	begun := len(b)
	if b[begun-1] != '{' {
		b = append(b, ',')
	}
	b = append(rawjson.AppendQuote(b, key), ':')
	if b = rawjson.AppendQuote(b, value); len(b) > maxHandshake {
		return b[:begun]
	}
	return b
}

// publicURL is path and query without the secret values.
func publicURL(u *url.URL, info Info) string {
	var kept []string
	for pair := range strings.SplitSeq(u.RawQuery, "&") {
		name, _, _ := strings.Cut(pair, "=")
		if pair == "" || info.hides(unescapeQuery(name)) {
			continue
		}
		kept = append(kept, pair)
	}
	if kept == nil {
		return u.EscapedPath()
	}
	return u.EscapedPath() + "?" + strings.Join(kept, "&")
}
