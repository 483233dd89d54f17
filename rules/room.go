package rules

import (
	"fmt"
	"reflect"
	"strconv"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"github.com/caddy-realtime/realtime/hub"
	"github.com/caddy-realtime/realtime/internal/rawjson"
)

// address is what user_room and socket_room make, as a CEL value.
type address struct{ hub.Address }

func (a *address) ConvertToNative(t reflect.Type) (any, error) {
	return nil, fmt.Errorf("an address cannot become a %v", t)
}

func (a *address) ConvertToType(t ref.Type) ref.Val {
	if t == types.TypeType {
		return addressType
	}
	return types.NewErr("an address cannot become a %s", t.TypeName())
}

func (a *address) Equal(other ref.Val) ref.Val {
	o, ok := other.(*address)
	return types.Bool(ok && o.Address == a.Address)
}

func (a *address) Type() ref.Type { return addressType }
func (a *address) Value() any     { return a.Address }

// identifier is an id given to user_room or socket_room: a string, or an int
// standing for its decimal text.
func identifier(v ref.Val) (string, error) {
	switch v := v.(type) {
	case types.String:
		if v != "" {
			return string(v), nil
		}
	case types.Int:
		return strconv.FormatInt(int64(v), 10), nil
	case *types.Err:
		return "", v
	}
	return "", invalid("an id is a string or a whole number")
}

// roomOf is the room or address that one CEL value names.
func roomOf(v ref.Val) (hub.Address, error) {
	switch v := v.(type) {
	case types.String:
		return hub.Address{Name: string(v)}, nil
	case types.Int:
		return hub.Address{Name: strconv.FormatInt(int64(v), 10)}, nil
	case *address:
		return v.Address, nil
	case *types.Err:
		return hub.Address{}, v
	}
	return hub.Address{}, errRoom
}

// maxTargets is the length of a list of rooms: hub.MaxRooms, and the two
// addresses that socket.rooms begins with. The hub counts more precisely.
const maxTargets = hub.MaxRooms + 2

// roomsOf are the rooms and addresses that a CEL value names, one or a list.
func roomsOf(v ref.Val) ([]hub.Address, error) {
	l, ok := v.(traits.Lister)
	if !ok {
		a, err := roomOf(v)
		if err != nil {
			return nil, err
		}
		return []hub.Address{a}, nil
	}
	n, ok := l.Size().(types.Int)
	if !ok || n > maxTargets {
		return nil, hub.TooManyRooms(int(n))
	}
	rooms := make([]hub.Address, 0, n)
	for it := l.Iterator(); it.HasNext() == types.True; {
		a, err := roomOf(it.Next())
		if err != nil {
			return nil, err
		}
		rooms = append(rooms, a)
	}
	return rooms, nil
}

// room is roomOf for a selected value, which is not a list.
func (v value) room() (hub.Address, error) {
	switch v.kind {
	case stringValue:
		return hub.Address{Name: v.str}, nil
	case intValue:
		return hub.Address{Name: strconv.FormatInt(v.num, 10)}, nil
	}
	if len(v.raw) > maxRead {
		return hub.Address{}, errTooLarge
	}
	switch rawjson.KindOf(v.raw) {
	case rawjson.KindString:
		return hub.Address{Name: rawjson.String(v.raw)}, nil
	case rawjson.KindNumber:
		if n, ok := rawjson.IsInt(v.raw); ok {
			return hub.Address{Name: strconv.FormatInt(n, 10)}, nil
		}
	}
	return hub.Address{}, errRoom
}

// rooms is roomsOf for a selected value.
func (v value) rooms() ([]hub.Address, error) {
	if v.kind != rawValue || rawjson.KindOf(v.raw) != rawjson.KindArray {
		a, err := v.room()
		if err != nil {
			return nil, err
		}
		return []hub.Address{a}, nil
	}
	rooms := []hub.Address{}
	for it := rawjson.Array(v.raw); it.Next(); {
		if len(rooms) == maxTargets {
			return nil, hub.TooManyRooms(v.len())
		}
		a, err := value{raw: it.Value()}.room()
		if err != nil {
			return nil, err
		}
		rooms = append(rooms, a)
	}
	return rooms, nil
}

// len counts the elements of a list.
func (v value) len() (n int) {
	for it := rawjson.Array(v.raw); it.Next(); {
		n++
	}
	return n
}

func withRoom(v ref.Val, f func(a hub.Address) ref.Val) ref.Val {
	a, err := roomOf(v)
	if err != nil {
		return types.WrapErr(err)
	}
	return f(a)
}
