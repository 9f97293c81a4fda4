package sgld

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
)

// Schedule is how step sizes change over a chain of K steps, k = 1, 2, …, K. The
// zero value is the constant schedule; at most one of Alpha and Cycles is set.
//
//	poly      η_k = c·(b + k)^−α
//	cyclical  η_k = (η₁/2)·(cos(π·((k−1) mod L)/L) + 1),  L = ⌈K/M⌉
//
// Every step has its own noise multiplier. It is that of Langevin dynamics at one
// temperature, z_k ∝ η_k^(−½), but for a Hot cycle: there z is constant, and the
// temperature falls with the step size, from hotStart times the target's. A draw is
// taken only where it has come down to the target, and from there on noise drawn
// apart from the data keeps it. A step without noise, with which cycles begin in
// Zhang, Li, Zhang, Chen and Wilson 2020, is not private and is not offered.
type Schedule struct {
	Alpha  float64 // α in (0, 1] of poly
	Offset float64 // b ≥ 0 of poly
	Cycles int64   // M ≥ 1 of cyclical
	Hot    bool    // cycles with one noise multiplier
}

const (
	mostCycles = 1000
	hotStart   = 4 // temperature at the start of a hot cycle, in the target's
)

// plainExponent leaves out what only some readers take for a number.
var plainExponent = regexp.MustCompile(`^(0|1)(\.[0-9]+)?([eE]-?[0-9]{1,3})?$|^[1-9](\.[0-9]+)?[eE]-[0-9]{1,3}$`)

var (
	plainCount  = regexp.MustCompile(`^[1-9][0-9]{0,3}$`)
	plainOffset = regexp.MustCompile(`^(0|[1-9][0-9]{0,8})(\.[0-9]{1,9})?$`)
)

// ParseSchedule reads "constant", "poly:ALPHA" or "poly:ALPHA:B" with ALPHA in
// (0, 1] and B ≥ 0, "cyclical:M" or "cyclical:M:hot" with M in 1 … 1000.
func ParseSchedule(text string) (Schedule, error) {
	if text == "constant" {
		return Schedule{}, nil
	}
	if a, ok := strings.CutPrefix(text, "poly:"); ok {
		a, b, offset := strings.Cut(a, ":")
		alpha, err := strconv.ParseFloat(a, 64)
		if err != nil || !plainExponent.MatchString(a) || !(alpha >= 0x1p-1022 && alpha <= 1) {
			return Schedule{}, &Conflict{Message: fmt.Sprintf("schedule %q: the exponent must be above 0 and at most 1", text)}
		}
		s := Schedule{Alpha: alpha}
		if offset {
			if !plainOffset.MatchString(b) {
				return Schedule{}, &Conflict{Message: fmt.Sprintf("schedule %q: the offset must be a number from 0, below 1e9", text)}
			}
			if s.Offset, err = strconv.ParseFloat(b, 64); err != nil {
				return Schedule{}, &Conflict{Message: fmt.Sprintf("schedule %q: the offset is no number", text)}
			}
		}
		return s, nil
	}
	if m, ok := strings.CutPrefix(text, "cyclical:"); ok {
		m, hot := strings.CutSuffix(m, ":hot")
		cycles, err := strconv.ParseInt(m, 10, 64)
		if err != nil || !plainCount.MatchString(m) || cycles > mostCycles {
			return Schedule{}, &Conflict{Message: fmt.Sprintf("schedule %q: use cyclical:M or cyclical:M:hot with 1 to %d cycles", text, mostCycles)}
		}
		return Schedule{Cycles: cycles, Hot: hot}, nil
	}
	return Schedule{}, &Conflict{Message: fmt.Sprintf("unknown schedule %q: use constant, poly:ALPHA or cyclical:M", text)}
}

// String is the inverse of ParseSchedule.
func (s Schedule) String() string {
	number := func(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }
	switch {
	case s.Cycles > 0 && s.Hot:
		return fmt.Sprintf("cyclical:%d:hot", s.Cycles)
	case s.Cycles > 0:
		return fmt.Sprintf("cyclical:%d", s.Cycles)
	case s.Alpha > 0 && s.Offset > 0:
		return "poly:" + strconv.FormatFloat(s.Alpha, 'g', -1, 64) + ":" + number(s.Offset)
	case s.Alpha > 0:
		return "poly:" + strconv.FormatFloat(s.Alpha, 'g', -1, 64)
	}
	return "constant"
}

// constant says whether all steps are equal.
func (s Schedule) constant() bool { return s.Alpha == 0 && s.Cycles == 0 }

// check says whether the schedule is one that ParseSchedule returns.
func (s Schedule) check() error {
	if parsed, err := ParseSchedule(s.String()); err != nil || parsed != s {
		return conflictf("schedule %+v: use constant, poly:ALPHA or cyclical:M", s)
	}
	return nil
}

// robbinsMonro returns which of the conditions Σ η_k = ∞, Σ η_k² < ∞ fails, as a
// sentence, or "" where both hold: then the iterates themselves converge to the
// target, without the bias of a step size (Robbins and Monro 1951; Teh, Thiéry and
// Vollmer 2016). Of a constant schedule, whose bias is that of its step size,
// nothing is said.
func (s Schedule) robbinsMonro() string {
	switch {
	case s.Cycles > 0:
		return fmt.Sprintf("schedule %s: the squared step sizes do not add up to a finite number (Robbins-Monro), so the iterates keep a bias", s)
	case s.Alpha > 0 && s.Alpha <= 0.5:
		return fmt.Sprintf("schedule %s: the squared step sizes do not add up to a finite number (Robbins-Monro), so the last iterates keep a bias; averages converge", s)
	}
	return ""
}

// cycle returns L, the steps of a whole cycle.
func (s Schedule) cycle(steps int64) int64 { return (steps + s.Cycles - 1) / s.Cycles }

// heat returns the first step's temperature in the target's.
func (s Schedule) heat() float64 {
	if s.Hot {
		return hotStart
	}
	return 1
}

// Where more than exactSteps steps would differ, step sizes are quantised to levels
// gridRatio apart in the noise multiplier: sizes, not charges. A step runs with
// exactly the noise multiplier of its event, and 10⁶ steps give a few hundred events.
const (
	exactSteps = 500
	gridRatio  = 1.01
)

// segment is a run of equal steps: noise multiplier z₁·ratio, step size η₁·size.
type segment struct {
	ratio float64
	size  float64
	steps int64
}

// shape returns the segments of K steps, with (η₁/η_k)^½ where they are few, and
// else rounded down to the grid gridRatio^j.
func (s Schedule) shape(steps int64) []segment {
	switch {
	case s.Cycles > 0:
		return s.cycles(steps)
	case s.Alpha > 0 && steps <= exactSteps:
		return exact(steps, func(k int64) float64 {
			return math.Pow((s.Offset+float64(k))/(s.Offset+1), -s.Alpha)
		})
	case s.Alpha > 0:
		level := math.Log(gridRatio) * 2 / s.Alpha // level j is reached at k + b = (1 + b)·e^(level·j)
		start := 1 + s.Offset
		return grid(steps, func(k int64) float64 {
			return math.Log((s.Offset+float64(k))/start) / level
		}, func(j float64) float64 {
			return start*math.Exp(level*j) - s.Offset
		})
	}
	return []segment{{ratio: 1, size: 1, steps: steps}}
}

// cycles is shape of the cyclical schedule: η_k/η₁ = cos²(πi/2L) at i = (k−1) mod L.
func (s Schedule) cycles(steps int64) []segment {
	l := s.cycle(steps)
	half := math.Pi / (2 * float64(l))
	var one []segment
	if l <= exactSteps {
		one = exact(l, func(k int64) float64 { return (math.Cos(math.Pi*float64(k-1)/float64(l)) + 1) / 2 })
	} else {
		one = gridCycle(l, half)
	}
	if s.Hot {
		for i := range one {
			one[i].ratio = 1
		}
	}
	var out []segment
	for steps > 0 {
		for _, g := range one {
			g.steps = min(g.steps, steps)
			if steps -= g.steps; g.steps > 0 {
				out = append(out, g)
			}
		}
	}
	return out
}

// gridCycle is a cycle of many steps.
func gridCycle(l int64, half float64) []segment {
	return grid(l, func(k int64) float64 {
		return -math.Log(math.Cos(half*float64(k-1))) / math.Log(gridRatio)
	}, func(j float64) float64 {
		return 1 + math.Acos(math.Pow(gridRatio, -j))/half
	})
}

// exact returns a segment for each step.
func exact(steps int64, size func(k int64) float64) []segment {
	out := make([]segment, steps)
	for i := range out {
		eta := size(int64(i) + 1)
		out[i] = segment{ratio: 1 / math.Sqrt(eta), size: eta, steps: 1}
	}
	return out
}

// grid cuts 1 … steps where level(k) passes a whole number, which it does at
// reached(j), and never falls.
func grid(steps int64, level func(k int64) float64, reached func(j float64) float64) []segment {
	var out []segment
	for k := int64(1); k <= steps; {
		j := math.Floor(level(k) + 1e-9)
		next := steps + 1
		if at := math.Ceil(reached(j+1) * (1 - 1e-9)); at <= float64(steps) {
			next = min(max(int64(at), k+1), steps+1)
		}
		ratio := math.Pow(gridRatio, j)
		out = append(out, segment{ratio: ratio, size: 1 / (ratio * ratio), steps: next - k})
		k = next
	}
	return out
}
