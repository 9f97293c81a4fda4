package job

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/privsgld/privsgld/privacy/gate"
)

// checkReleaseAt refuses a boundary that no clock shows.
func (r *Run) checkReleaseAt() error {
	if r.ReleaseAt < 0 || r.ReleaseAt > 0 && (24*time.Hour)%r.ReleaseAt != 0 {
		return &UsageError{Message: fmt.Sprintf("%v does not divide a day", r.ReleaseAt), Hint: "use a minute or an hour"}
	}
	return nil
}

// held does the part of a run that reads data. Where the run ends at a boundary, held
// ends there too, however the part went: also where it failed, and where it panicked.
// Then the ledger, the output folder, the streams and the end of the process follow, and
// all of them at that time. A run that is cancelled ends at once.
func held[T any](ctx context.Context, r *Run, part func() (T, error)) (result T, err error) {
	if r.ReleaseAt == 0 {
		return part()
	}
	defer func() {
		// What the part held goes back before the wait: the more there is, the longer
		// it takes.
		debug.FreeOSMemory()
		after := r.After
		if after == nil {
			after = time.After
		}
		if cut := gate.Await(ctx, r.ReleaseAt, r.Now, after); cut != nil {
			err = cut
		}
	}()
	return part()
}
