package hub

import "time"

// directory is a Namespace as a Directory.
type directory struct{ ns *Namespace }

func (d directory) MemberCount(a Address) int { return d.ns.memberCount(a) }

func (d directory) Members(a Address) []string {
	if a.Kind != Room || a.Name == "" {
		return nil
	}
	return d.ns.hub.presence.Members(d.ns.name, a.Name)
}

func (d directory) Online() []string { return d.ns.hub.presence.Members(d.ns.name, "") }

func (d directory) IsOnline(user string) bool {
	return d.ns.hub.presence.IsMember(d.ns.name, "", user)
}

func (d directory) LastSeen(user string) int64 {
	at := d.ns.hub.presence.LastSeen(d.ns.name, user, time.Now())
	if at.IsZero() {
		return 0
	}
	return at.UnixMilli()
}
