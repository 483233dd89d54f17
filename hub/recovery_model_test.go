package hub_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-realtime/realtime/hub"
	"github.com/caddy-realtime/realtime/internal/siotest"
)

// walker is a visitor with what it must have heard, told by nothing but who was
// where when something was said.
type walker struct {
	*visitor
	here  bool
	away  int // steps
	rooms map[string]bool
	heard []string
	want  []string
}

// listen takes what has come; a walker that does not before its connection
// breaks has not heard it.
func (w *walker) listen() {
	if news := w.visitor.heard(); news != "" {
		w.heard = append(w.heard, strings.Split(news, ",")...)
	}
}

func (w *walker) comesBack(n *siotest.Network) {
	w.visit(n)
	w.here, w.away = true, 0
	if !w.recovered {
		w.t.Error("not recovered")
	}
	w.listen()
}

// Sockets join, leave, lose their connection with some of what they got, and
// come back, also in vain, while others speak: each hears what was said where it
// was, once and in order.
func TestRecoveredSocketsHearEachEventOnceInOrder(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			withRecovery(t, nil, func(t *testing.T, k *keeper, _ *hub.Hub, n *siotest.Network) {
				walk(t, k, n, rand.New(rand.NewPCG(seed, 0)))
			})
		})
	}
}

func walk(t *testing.T, k *keeper, n *siotest.Network, dice *rand.Rand) {
	speaker := (&visitor{t: t}).visit(n)
	var all []*walker
	for range 6 {
		w := &walker{visitor: (&visitor{t: t}).visit(n), here: true, rooms: map[string]bool{}}
		all = append(all, w)
	}
	said := func(text string, to func(*walker) bool) {
		for _, w := range all {
			if to(w) {
				w.want = append(w.want, text)
			}
		}
	}
	for i := range 300 {
		w, room, text := all[dice.IntN(len(all))], string(rune('a'+dice.IntN(3))), fmt.Sprint(i)
		switch dice.IntN(10) {
		case 0:
			if w.here {
				w.does("join", room)
				w.rooms[room] = true
			}
		case 1:
			if w.here {
				w.does("leave", room)
				delete(w.rooms, room)
			}
		case 2:
			if w.here {
				w.breaks()
				w.here, w.away = false, 0
			}
		case 3:
			if !w.here || dice.IntN(3) == 0 { // or the old connection gives way
				if dice.IntN(2) == 0 { // in vain: its connection breaks before it is let in
					k.wait(true)
					w.knock(n)
					synctest.Wait()
					speaker.does("to", room, text)
					said(text, func(o *walker) bool { return o.rooms[room] })
					w.breaks()
					k.wait(false)
					synctest.Wait()
				}
				w.comesBack(n)
			}
		case 4:
			if w.here {
				w.listen()
			}
		case 5:
			speaker.does("all", text)
			said(text, func(*walker) bool { return true })
		case 6:
			speaker.does("except", room, text)
			said(text, func(o *walker) bool { return !o.rooms[room] })
		case 7:
			speaker.does("private", w.id, text)
			said(text, func(o *walker) bool { return o == w })
		case 8:
			if w.here {
				w.does("others", text)
				said(text, func(o *walker) bool { return o != w })
			}
		default:
			speaker.does("to", room, text)
			said(text, func(o *walker) bool { return o.rooms[room] })
		}
		time.Sleep(time.Duration(dice.IntN(1000)) * time.Millisecond)
		for _, o := range all {
			if o.here && o.away%4 == 0 { // else it would answer pings with what it has not heard
				o.listen()
			}
			if o.away++; !o.here && o.away > 50 { // nobody is away for the whole window
				o.comesBack(n)
			}
		}
	}
	for i, w := range all {
		if !w.here {
			w.comesBack(n)
		}
		w.listen()
		if !slices.Equal(w.heard, w.want) {
			t.Errorf("%d heard\n%v\nand not\n%v", i, w.heard, w.want)
		}
	}
}
