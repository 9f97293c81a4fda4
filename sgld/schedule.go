package sgld

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
)

// Schedule is how step sizes fall: η_k = η₁·k^−Alpha, k = 1, 2, …; Alpha 0 is
// the constant schedule. With Alpha in (½, 1] the iterates converge to the
// target without bias (Robbins and Monro 1951); for step-weighted averages ⅓ is
// best (Teh, Thiéry and Vollmer 2016).
type Schedule struct {
	Alpha float64
}

// plainExponent leaves out what only some readers take for a number.
var plainExponent = regexp.MustCompile(`^(0|1)(\.[0-9]+)?([eE]-?[0-9]{1,3})?$|^[1-9](\.[0-9]+)?[eE]-[0-9]{1,3}$`)

// ParseSchedule reads "constant" or "poly:ALPHA" with ALPHA in (0, 1].
func ParseSchedule(text string) (Schedule, error) {
	if text == "constant" {
		return Schedule{}, nil
	}
	if a, ok := strings.CutPrefix(text, "poly:"); ok {
		if alpha, err := strconv.ParseFloat(a, 64); err == nil && plainExponent.MatchString(a) && alpha >= 0x1p-1022 && alpha <= 1 {
			return Schedule{Alpha: alpha}, nil
		}
		return Schedule{}, &Conflict{Message: fmt.Sprintf("schedule %q: the exponent must be above 0 and at most 1", text)}
	}
	return Schedule{}, &Conflict{Message: fmt.Sprintf("unknown schedule %q: use constant or poly:ALPHA", text)}
}

// String is the inverse of ParseSchedule.
func (s Schedule) String() string {
	if s.Alpha == 0 {
		return "constant"
	}
	return "poly:" + strconv.FormatFloat(s.Alpha, 'g', -1, 64)
}

// gridRatio is the ratio of neighbouring noise multipliers of a decreasing
// schedule. Step sizes are quantised, not charges: a step runs with exactly the
// noise multiplier of its event, and 10⁶ steps give a few hundred events.
const gridRatio = 1.01

// segment is a run of equal steps: noise multiplier z₁·ratio, step size
// η₁/ratio².
type segment struct {
	ratio float64
	steps int64
}

// shape returns the segments of K steps: z_k = z₁·k^{α/2} rounded down to the
// grid gridRatio^j.
func (s Schedule) shape(steps int64) []segment {
	if s.Alpha == 0 {
		return []segment{{ratio: 1, steps: steps}}
	}
	var out []segment
	level := math.Log(gridRatio) * 2 / s.Alpha // ratio gridRatio^j is reached at k = e^(level·j)
	for k := int64(1); k <= steps; {
		j := math.Floor(math.Log(float64(k))/level + 1e-9)
		next := int64(math.Ceil(math.Exp(level*(j+1)) * (1 - 1e-9)))
		next = min(max(next, k+1), steps+1)
		out = append(out, segment{ratio: math.Pow(gridRatio, j), steps: next - k})
		k = next
	}
	return out
}
