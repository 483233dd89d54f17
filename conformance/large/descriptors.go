//go:build linux

package main

import (
	"context"
	"net"
	"net/http"
	"os"
	"time"
)

// descriptors gives the server 2,000 of them and has 5,000 clients try for a
// minute. What it may keep for connections leaves enough for the site beside,
// with its files and its app behind, which nobody may notice.
func descriptors(ctx context.Context, t *trial) error {
	app, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer app.Close()
	go func() {
		_ = http.Serve(app, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }))
	}()
	dir, err := os.MkdirTemp("", "realtime-large-site-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(dir+"/index.html", []byte("<p>hello"), 0o600); err != nil {
		return err
	}
	s, err := t.start(`http://127.0.0.1:{$PORT} {
	realtime {
		on echo {
			ack args...
		}
	}
}
http://127.0.0.1:{$SITE} {
	reverse_proxy /app `+app.Addr().String()+`
	root * `+dir+`
	file_server
}
`, withFiles(2000))
	if err != nil {
		return err
	}
	defer s.stop(t)
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	files, behind := &probe{}, &probe{}
	go files.run(ctx, s.url("SITE", "/"), 20*time.Millisecond)
	go behind.run(ctx, s.url("SITE", "/app"), 20*time.Millisecond)
	everybody := &crowd{target: s.target()}
	everybody.come(ctx, 5000)
	var in, most int64
	var open int
	for sleep(ctx, 100*time.Millisecond) {
		in = everybody.in.Load()
		most = max(most, in)
		if fds, err := os.ReadDir(s.proc("fd")); err == nil {
			open = max(open, len(fds))
		}
	}
	t.check(in == 1100 && most == in, "%d of 5000 clients are in at the end, %d at most: 80 %% of 2000 less 500", in, most)
	t.say("clients: %s; at most %d descriptors were open", everybody, open)
	files.check(t, "files of the site beside")
	behind.check(t, "the app behind the site beside")
	return nil
}
