package accountant

import "math"

const outlinePoints = 192

// outline is a loss distribution by a few hundred points, ascending.
type outline struct {
	loss, mass []float64
	inverse    []float64 // e^−loss − 1, once it was needed
	pinned     []bool    // atoms: no error where they lie on the grid; nil: none
}

func (o *outline) add(loss, mass float64) {
	o.loss, o.mass = append(o.loss, loss), append(o.mass, mass)
	if o.pinned != nil {
		o.pinned = append(o.pinned, false)
	}
}

func (o *outline) pin(loss, mass float64) {
	for len(o.pinned) < len(o.loss) {
		o.pinned = append(o.pinned, false)
	}
	o.loss, o.mass, o.pinned = append(o.loss, loss), append(o.mass, mass), append(o.pinned, true)
}

// trim leaves out the ends that have no mass.
func (o *outline) trim() {
	from, to := 0, len(o.mass)
	for from < to-1 && o.mass[from] == 0 {
		from++
	}
	for to-1 > from && o.mass[to-1] == 0 {
		to--
	}
	o.loss, o.mass = o.loss[from:to], o.mass[from:to]
	if o.pinned != nil {
		o.pinned = o.pinned[from:to]
	}
}

// logMGF is log E[e^(θL)].
func (o *outline) logMGF(theta float64) float64 {
	top := max(math.Abs(o.loss[0]), math.Abs(o.loss[len(o.loss)-1]))
	sum := 0.0
	if top > 30 || math.Abs(theta)*top > 650 {
		shift := max(theta*o.loss[0], theta*o.loss[len(o.loss)-1])
		for i, l := range o.loss {
			sum += o.mass[i] * math.Exp(theta*l-shift)
		}
		return shift + math.Log(sum)
	}
	if o.inverse == nil {
		o.inverse = make([]float64, len(o.loss))
		for i, l := range o.loss {
			o.inverse[i] = math.Expm1(-l)
		}
	}
	// E[e^−L] = 1: with it the small losses of many steps do not cancel.
	for i, l := range o.loss {
		sum += o.mass[i] * (math.Expm1(theta*l) + theta*o.inverse[i])
	}
	return math.Log1p(sum)
}

// heavy reports whether tilting by theta leaves the mass at the upper end, where
// the outline was cut off.
func (o *outline) heavy(theta float64) bool {
	n := len(o.loss)
	if o.pinned != nil {
		return false
	}
	top, core := 0.0, 0.0
	for i, l := range o.loss {
		w := o.mass[i] * math.Exp(theta*(l-o.loss[n-1]))
		if i >= n-n/8 {
			top += w
		}
		core = max(core, w)
	}
	return top > core/8
}

// weights are how much a little variance at each loss would matter to the profile
// around f: mass times e^(slope·loss), which sums to 1, and less again past ε, where
// splitting a cell leaves the profile as it is. Where single steps lose nearly all of
// ε a tilted distribution may show next to nothing of them; what a loss does to δ
// beyond a loss of 0, by leap, is then what matters, but no more than all.
func (o *outline) weights(f focus, leap func(loss float64) float64) []float64 {
	w := make([]float64, len(o.loss))
	edge := f.eps + 2/f.slope
	reach := func(l float64) float64 { return min(l, 2*edge-l) }
	shift := f.slope * min(edge, o.loss[len(o.loss)-1])
	sum := 0.0
	for i, l := range o.loss {
		w[i] = o.mass[i] * math.Exp(f.slope*reach(l)-shift)
		sum += w[i]
	}
	for i := range w {
		w[i] /= sum
	}
	if leap != nil {
		none := math.Exp(leap(0))
		for i, l := range o.loss {
			w[i] = max(w[i], min(1, o.mass[i]*(math.Exp(leap(reach(l)))-none)))
		}
	}
	return w
}

// added is about the variance that cells of width w add, with those weights;
// pinned atoms may be taken to lie on the grid.
func (o *outline) added(weights []float64, w float64, pinned bool) float64 {
	sum := 0.0
	for j, l := range o.loss {
		share := 1.0 / 6
		if o.pinned != nil && o.pinned[j] {
			if pinned {
				continue
			}
			share = 1.0 / 4
		}
		sum += weights[j] * w * min(w*share, math.Abs(l)) // 0 is on every grid
	}
	return sum
}

// spread is the standard deviation with those weights.
func (o *outline) spread(weights []float64) float64 {
	mean, square := 0.0, 0.0
	for j, l := range o.loss {
		mean += weights[j] * l
		square += weights[j] * l * l
	}
	return math.Sqrt(max(square-mean*mean, 1e-12*square))
}

func reversed(x []float64, sign float64) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		y[len(x)-1-i] = sign * v
	}
	return y
}
