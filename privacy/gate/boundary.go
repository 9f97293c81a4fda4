package gate

import (
	"context"
	"time"
)

// Await waits until the clock next shows a whole multiple of every in UTC, such as the
// next whole minute, and at least until it shows another time than now: a job that ends
// on a boundary waits for the one after. What becomes visible only then tells how long
// the job took to the boundary, and no finer.
//
// every is positive and divides a day. now is asked once, so that a clock that is set
// meanwhile moves nothing; after is [time.After], or a test's own. The error is the
// context's cause, at once where it ends first.
func Await(ctx context.Context, every time.Duration, now func() time.Time, after func(time.Duration) <-chan time.Time) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-after(untilBoundary(now(), every)):
		return nil
	}
}

// untilBoundary is how long it is from a time to the next whole multiple of every: more
// than 0, at most every.
func untilBoundary(now time.Time, every time.Duration) time.Duration {
	now = now.UTC()
	return now.Truncate(every).Add(every).Sub(now)
}
