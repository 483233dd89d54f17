// Command echo serves the engine alone on /engine.io/, echoing every message,
// so that the official Engine.IO test suite can judge it.
package main

import (
	"flag"
	"log"
	"net/http"
	"time"

	"github.com/caddy-realtime/realtime/engine"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:3000", "address to listen on")
	interval := flag.Duration("ping-interval", 300*time.Millisecond, "time between a pong and the next ping")
	timeout := flag.Duration("ping-timeout", 200*time.Millisecond, "time to answer a ping")
	plain := flag.Bool("plain", false, "also accept plain WebSockets")
	flag.Parse()

	origins, err := engine.ParseOrigins([]string{"*"})
	if err != nil {
		log.Fatal(err)
	}
	server := engine.NewServer(handler{}, engine.Config{PingInterval: *interval, PingTimeout: *timeout, Plain: *plain})
	http.HandleFunc("/engine.io/", func(w http.ResponseWriter, r *http.Request) {
		server.Serve(w, r, engine.Info{Origins: origins})
	})
	log.Printf("echo: listening on %s", *addr)
	log.Fatal(http.ListenAndServe(*addr, nil))
}

type handler struct{}

func (handler) Open(s *engine.Session) engine.Receiver {
	s.Established()
	return receiver{s}
}

type receiver struct{ session *engine.Session }

func (r receiver) Message(b *engine.Batch, data []byte, binary bool) {
	r.session.Send(b, engine.NewFrames(r.session.Kind(), data, binary, nil))
}

func (receiver) Closed(*engine.Batch, engine.Reason) {}
