package engine

import (
	"math"
	"time"
)

// instant is time since the server exists.
type instant time.Duration

const never instant = math.MaxInt64

func (s *Server) now() instant { return instant(time.Since(s.start)) }
