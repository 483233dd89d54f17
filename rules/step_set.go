package rules

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"

	"github.com/caddy-realtime/realtime/hub"
)

func init() { register("set", func() Action { return new(SetData) }) }

// SetData stores a value as socket.data.<key>.
//
//	set <key> <value>
type SetData struct {
	// Name of the key.
	Key string `json:"key"`
	// CEL expression; its value must not have binary data in it.
	Value string `json:"value"`
}

func (s *SetData) parse(l *reader) (err error) {
	if s.Key, err = l.word("the key"); err != nil {
		return err
	}
	s.Value, err = l.expr("the value")
	return err
}

// dataKey is a key as it is read, not as it is set.
var dataKey = regexp.MustCompile(`^(?:socket\.)?data\.(.+)$`)

func (s *SetData) compile(c *compiler) error {
	if s.Key == "" {
		return errors.New("the key is missing")
	}
	if key := dataKey.FindStringSubmatch(s.Key); key != nil {
		return fmt.Errorf("write the key alone, as in: set %s %s; its value is then socket.data.%s", key[1], s.Value, key[1])
	}
	key, err := c.set.text(s.Key)
	if err != nil {
		return err
	}
	value, err := c.value(s.Value)
	if err != nil {
		return err
	}
	c.set.sets[s.Key] = true
	c.add(func(r *run) *hub.Refusal {
		args, err := value.build(r)
		if err != nil {
			return asRefusal(err)
		}
		if len(args.Bin) > 0 {
			return errBinary
		}
		return r.call.Do(&hub.Set{Key: key, Value: bytes.Clone(args.JSON)})
	})
	return nil
}
