package hub_test

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/caddy-realtime/realtime/engine"
	"github.com/caddy-realtime/realtime/hub"
	"github.com/caddy-realtime/realtime/internal/siotest"
)

// bystander is a SessionObserver that notes what it is told.
type bystander struct {
	notes chan string
	ended chan struct{}
}

func (w bystander) Joined(string, string) { w.notes <- "joined" }

func (w bystander) Ended(reason string) {
	w.notes <- reason
	close(w.ended)
}

// onLog is a log that calls what stands beside a message.
type onLog map[string]func()

func (l onLog) Enabled(context.Context, slog.Level) bool { return true }
func (l onLog) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l onLog) WithGroup(string) slog.Handler            { return l }
func (l onLog) Handle(_ context.Context, r slog.Record) error {
	if f := l[r.Message]; f != nil {
		f()
	}
	return nil
}

// TestObserverOfTheEnd: a session that ends while its socket joins is told of in
// this order.
func TestObserverOfTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d := bystander{make(chan string, 10), make(chan struct{})}, newDesk()
		log := onLog{}
		h := hub.New(hub.Config{Logger: slog.New(log), Namespaces: []hub.NamespaceConfig{{Name: "/", Policy: newDiary(), Auth: d}}})
		n := siotest.Serve(t, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			h.Serve(rw, r, engine.Info{}, &hub.Opening{Observer: w})
		}))
		t.Cleanup(h.Close)
		c := n.WebSocket(wsPath)
		log["socket joined"] = func() { c.Close(); <-w.ended }
		c.Send("40")
		(<-d.logins).answer <- user("ann")
		<-w.ended
		synctest.Wait()
		close(w.notes)
		var notes []string
		for note := range w.notes {
			notes = append(notes, note)
		}
		if want := []string{"joined", "transport close"}; !slices.Equal(notes, want) {
			t.Errorf("observed %q, want %q", notes, want)
		}
	})
}
