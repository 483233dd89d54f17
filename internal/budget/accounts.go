package budget

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	kept    = 60 * time.Second // how long an account outlives its last connection
	maxIdle = 1 << 16          // accounts without a connection
)

// Account is what all connections of one user, or of one address, share.
type Account struct {
	Meter
	Connects Bucket

	line atomic.Int64 // when the last of those that wait has had its turn, as a time.Duration

	// Guarded by the Accounts' lock.
	held   int
	seen   time.Duration // when it was last used or let go
	queued bool
	since  time.Duration // seen, when it was queued
}

// Queue is for a connection that has to wait until the account owes nothing,
// which is at paid. It returns when it is the connection's turn: after the turns
// of those that wait already. cost is the time in which what it will use comes
// back, about; the next one's turn is so much later.
func (a *Account) Queue(paid, cost time.Duration) (turn time.Duration) {
	for {
		old := a.line.Load()
		turn = max(paid, time.Duration(old))
		if a.line.CompareAndSwap(old, int64(turn+cost)) {
			return turn
		}
	}
}

// Accounts are the accounts of users or of addresses. One is made when it is
// first asked for and kept for a minute after its last connection, so that a
// reconnect gains nothing. They are safe for concurrent use and need no
// goroutine: what is due is forgotten when the next one comes.
type Accounts[K comparable] struct {
	mu    sync.Mutex
	known map[K]*Account
	queue []K // about in the order in which they become due
}

// Visit returns the account for key.
func (a *Accounts[K]) Visit(key K, now time.Duration) *Account {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.visitLocked(key, now)
}

func (a *Accounts[K]) visitLocked(key K, now time.Duration) *Account {
	a.forgetLocked(now)
	account := a.known[key]
	if account == nil {
		if a.known == nil {
			a.known = map[K]*Account{}
		}
		account = &Account{}
		a.known[key] = account
	}
	account.seen = now
	a.enqueueLocked(key, account)
	return account
}

// Hold returns the account for key with a connection more, which Release gives
// back; nil if it has limit of them. No limit is 0.
func (a *Accounts[K]) Hold(key K, limit int, now time.Duration) *Account {
	a.mu.Lock()
	defer a.mu.Unlock()
	account := a.visitLocked(key, now)
	if limit > 0 && account.held >= limit {
		return nil
	}
	account.held++
	return account
}

// Release undoes one Hold.
func (a *Accounts[K]) Release(key K, now time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	account := a.known[key]
	account.held--
	account.seen = now
	a.enqueueLocked(key, account)
}

// Len is how many accounts there are.
func (a *Accounts[K]) Len() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.known)
}

func (a *Accounts[K]) enqueueLocked(key K, account *Account) {
	if account.held == 0 && !account.queued {
		account.queued, account.since = true, account.seen
		a.queue = append(a.queue, key)
	}
}

// forgetLocked forgets what was not used for long enough, and the oldest if
// there are too many.
func (a *Accounts[K]) forgetLocked(now time.Duration) {
	for len(a.queue) > 0 {
		key := a.queue[0]
		account := a.known[key]
		used := account.seen > account.since
		if account.held == 0 && !used && account.seen+kept > now && len(a.queue) <= maxIdle {
			return
		}
		a.queue = a.queue[1:]
		account.queued = false
		if used {
			a.enqueueLocked(key, account)
		} else if account.held == 0 {
			delete(a.known, key)
		}
	}
}
