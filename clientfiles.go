package realtime

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// clientFiles are the browser builds of socket.io-client that may be served,
// under the names that Node's server gives them.
var clientFiles = map[string]bool{
	"socket.io.js":                 true,
	"socket.io.js.map":             true,
	"socket.io.min.js":             true,
	"socket.io.min.js.map":         true,
	"socket.io.esm.min.js":         true,
	"socket.io.esm.min.js.map":     true,
	"socket.io.msgpack.min.js":     true,
	"socket.io.msgpack.min.js.map": true,
}

// serveClient answers with the file called name in dir, if it is one of
// clientFiles and there. The names are compared whole, so that no request
// leads outside dir.
func serveClient(w http.ResponseWriter, r *http.Request, dir, name string) bool {
	if !clientFiles[name] || r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false
	}
	content, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return false
	}
	kind := "application/javascript; charset=utf-8"
	if strings.HasSuffix(name, ".map") {
		kind = "application/json; charset=utf-8"
	}
	// npm gives every file the same time: only the content tells versions apart.
	sum := sha256.Sum256(content)
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Cache-Control", "public, max-age=0")
	w.Header().Set("ETag", `"`+hex.EncodeToString(sum[:8])+`"`)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	return true
}

// warnOfClient tells the operator early what would be a missing script in the
// browser. It is no error: the files may come later.
func warnOfClient(ctx caddy.Context, dir string) {
	if dir == "" {
		return
	}
	if _, err := os.Stat(filepath.Join(dir, "socket.io.min.js")); err != nil {
		ctx.Slogger().Warn("the client directory has no socket.io.min.js", "error", err)
	}
}
