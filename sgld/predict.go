package sgld

import (
	"encoding/binary"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"gonum.org/v1/gonum/floats"

	"github.com/privsgld/privsgld/datasets"
)

// A Predictor is the posterior predictive law of new rows, out of released draws:
// post-processing of them, which costs no budget. With draws θ₁ … θ_D of the
// coefficients and linear predictors u_d = xᵀθ_d of an encoded row x, the law of its
// target is the mixture
//
//	p(y | x) = (1/D)·Σ_d p(y | u_d)
//
// so that probabilities and means are averaged over draws, and coefficients are not:
// the two differ wherever the link is curved, the more so the hotter the chain was.
//
// The draws should be those of a chain that has mixed; see package
// sgld/diagnostics. Nothing here reads a protected row.
type Predictor struct {
	law   law
	enc   datasets.Encoding
	draws int

	// coefficients[block][coefficient][draw]: one block for each linear predictor; nil
	// for one that is 0.
	coefficients [][][]float64

	known   map[string]int // place of the results of a row, by its bits
	results [][]float64    // its columns, and the log density at its target
}

// A law is what one model says of a row, given its linear predictors. It is a
// function of values: rows are spread over processors.
type law interface {
	// columns names what predict writes.
	columns() []string

	// predict writes one value for each column. u[block][draw] are the linear
	// predictors, and belong to the call: it may reorder and overwrite them.
	predict(dst []float64, u [][]float64)

	// logDensity returns log p(y | x) in nats, of a target that is not missing: as a
	// scored table holds it, see datasets.Rows.
	logDensity(y float64, u [][]float64) float64

	// score returns what the predictions are held against.
	score() score
}

// The share of the draws, in per cent, below and above which an interval leaves: 5
// and 95 name its columns.
const (
	lowerTail = 0.05
	upperTail = 0.95
)

// A Fit is what released draws are of: a model over an encoding, with the parameters'
// names and Values[parameter][draw].
type Fit struct {
	Model    string   // one of Models
	NoiseSD  *float64 // of a linear model, on the encoded target, where it is known
	Encoding datasets.Encoding
	Names    []string
	Values   [][]float64
}

// NewPredictor makes the predictive law of a fit. Errors name what does not fit
// together.
func NewPredictor(f Fit) (*Predictor, error) {
	if len(f.Values) == 0 || len(f.Values) != len(f.Names) || len(f.Values[0]) == 0 {
		return nil, fmt.Errorf("there are no draws")
	}
	enc := f.Encoding
	of, err := newModel(&Request{Model: f.Model, NoiseSD: f.NoiseSD, Encoding: enc})
	if err != nil {
		return nil, err
	}
	if !slices.Equal(f.Names, of.names()) {
		return nil, fmt.Errorf("the draws have other parameters than model %s has with the policy's columns", f.Model)
	}
	d := len(enc.Coefficients)
	p := &Predictor{enc: enc, draws: len(f.Values[0]), known: map[string]int{}, coefficients: [][][]float64{f.Values[:d]}}
	switch m := of.(type) {
	case logistic:
		p.law = logisticLaw{}
	case linear:
		p.law = linearLaw{enc.Lower, enc.Upper, []float64{1 / math.Sqrt(m.precision)}}
	case linearScale:
		sd := make([]float64, p.draws)
		for i, v := range f.Values[d] {
			sd[i] = math.Exp(max(v, math.Log(scaleFloor)))
		}
		p.law = linearLaw{enc.Lower, enc.Upper, sd}
	case poisson:
		p.law = poissonLaw{m.upper}
	case softmax:
		p.law, p.coefficients = softmaxLaw{enc.Levels}, nil
		for level, next := 0, 0; level < len(enc.Levels); level++ {
			if level == enc.Reference {
				p.coefficients = append(p.coefficients, nil)
				continue
			}
			p.coefficients = append(p.coefficients, f.Values[next:next+d])
			next += d
		}
	default:
		return nil, fmt.Errorf("model %q: this version does not predict from it", f.Model)
	}
	return p, nil
}

// Columns names what [Predictor.Predict] writes, in order. Where the model's target
// is binary they are
//
//	mean     probability of the positive level, averaged over draws
//	q5, q95  5 % and 95 % points, over draws, of that probability: what is not known of it
//
// and where it is a number, in its own unit,
//
//	mean, q5, q95                 of the mean that the draws give the row
//	predictive_q5, predictive_q95  5 % and 95 % points of a new target, noise included;
//	                              of a count, the least with so much probability up to it
//
// Of a target with levels there are the three of a binary one for each level, in the
// policy's order, named LEVEL:mean and so on.
func (p *Predictor) Columns() []string { return p.law.columns() }

// Draws returns the number of draws.
func (p *Predictor) Draws() int { return p.draws }

// A Predicted holds what is predicted for the rows of a batch.
type Predicted struct {
	Values [][]float64 // [column][row], see [Predictor.Columns]

	// LogDensity[row] is log p(y | x) in nats at the row's target; nil where the batch
	// has none, NaN where the row's is missing.
	LogDensity []float64
	Targets    []float64 // of the rows, NaN where missing; nil where the batch has none
}

// Predict predicts the rows of a batch of encoded rows, see datasets.Rows. It is the
// same to the last bit for any number of processors and any split into batches. Rows
// that are equal are predicted once, as far as memory allows; so a predictor serves
// one goroutine.
func (p *Predictor) Predict(rows arrow.Record) *Predicted {
	n, width := int(rows.NumRows()), len(p.Columns())
	out := &Predicted{Values: make([][]float64, width)}
	for i := range out.Values {
		out.Values[i] = make([]float64, n)
	}
	if features := len(p.enc.Features); int(rows.NumCols()) > features {
		out.Targets = rows.Column(features).(*array.Float64).Float64Values()
		out.LogDensity = make([]float64, n)
	}
	place, fresh := p.places(rows, out.Targets)
	first := len(p.known) - len(fresh)
	for range fresh {
		p.results = append(p.results, make([]float64, width+1))
	}
	workers := min(runtime.GOMAXPROCS(0), len(fresh))
	var wait sync.WaitGroup
	for w := range workers {
		from, to := w*len(fresh)/workers, (w+1)*len(fresh)/workers
		wait.Go(func() { p.predict(p.results[first+from:first+to], rows, fresh[from:to], out.Targets) })
	}
	wait.Wait()
	for row, at := range place {
		for i, v := range p.results[at][:width] {
			out.Values[i][row] = v
		}
		if out.Targets != nil {
			out.LogDensity[row] = p.results[at][width]
		}
	}
	return out
}

// What is remembered of rows: so many, and so many bytes of them.
const (
	mostKnown      = 1 << 16
	mostKnownBytes = 1 << 25
)

// places returns for each row the place of its results, and the rows that have none
// yet, in the order of their places.
func (p *Predictor) places(rows arrow.Record, targets []float64) (place, fresh []int) {
	var key []byte
	for row := range int(rows.NumRows()) {
		key = key[:0]
		for i, f := range p.enc.Features {
			if f.Kind == datasets.Number {
				key = binary.LittleEndian.AppendUint64(key, math.Float64bits(rows.Column(i).(*array.Float64).Value(row)))
			} else {
				key = binary.LittleEndian.AppendUint16(key, rows.Column(i).(*array.Uint16).Value(row))
			}
		}
		if targets != nil {
			key = binary.LittleEndian.AppendUint64(key, math.Float64bits(targets[row]))
		}
		if row == 0 && (len(p.known) >= mostKnown || len(p.known)*len(key) >= mostKnownBytes) {
			clear(p.known)
			p.results = p.results[:0]
		}
		at, known := p.known[string(key)]
		if !known {
			at = len(p.known)
			p.known[string(key)] = at
			fresh = append(fresh, row)
		}
		place = append(place, at)
	}
	return place, fresh
}

// predict predicts some rows of a batch.
func (p *Predictor) predict(results [][]float64, rows arrow.Record, which []int, targets []float64) {
	u := make([][]float64, len(p.coefficients))
	for b := range u {
		u[b] = make([]float64, p.draws)
	}
	for i, row := range which {
		for b := range u {
			p.linear(u[b], p.coefficients[b], rows, row)
		}
		dst, last := results[i], len(results[i])-1
		dst[last] = math.NaN()
		if targets != nil && !math.IsNaN(targets[row]) {
			dst[last] = p.law.logDensity(targets[row], u)
		}
		p.law.predict(dst[:last], u)
	}
}

// linear writes the linear predictors of a row, one a draw. Categories are gathered,
// not multiplied.
func (p *Predictor) linear(u []float64, coefficients [][]float64, rows arrow.Record, row int) {
	if coefficients == nil {
		clear(u)
		return
	}
	copy(u, coefficients[0])
	for i, f := range p.enc.Features {
		switch f.Kind {
		case datasets.Number:
			floats.AddScaled(u, rows.Column(i).(*array.Float64).Value(row), coefficients[f.Offset])
		case datasets.Boolean:
			if rows.Column(i).(*array.Uint16).Value(row) == 1 {
				floats.Add(u, coefficients[f.Offset])
			}
		default:
			level := int(rows.Column(i).(*array.Uint16).Value(row))
			if level == f.Reference {
				continue
			}
			if level > f.Reference {
				level--
			}
			floats.Add(u, coefficients[f.Offset+level])
		}
	}
}

// average adds in order: the same bits everywhere.
func average(x []float64) float64 {
	sum := 0.0
	for _, v := range x {
		sum += v
	}
	return sum / float64(len(x))
}

// logMeanExp returns log((1/n)·Σ e^xᵢ) without overflow.
func logMeanExp(x []float64) float64 {
	return floats.LogSumExp(x) - math.Log(float64(len(x)))
}

// quantiles returns the type-7 quantiles (Hyndman and Fan 1996) of x at increasing p,
// and leaves x in another order. It takes time linear in len(x).
func quantiles(x []float64, p ...float64) []float64 {
	out := make([]float64, len(p))
	from := 0 // what is before is not above what follows
	for i, p := range p {
		at := float64(len(x)-1) * p
		below := int(at)
		if below >= from {
			selectNth(x[from:], below-from)
			from = below
		}
		v := x[below]
		if below+1 < len(x) {
			next := slices.Min(x[below+1:])
			v += (at - float64(below)) * (next - v)
		}
		out[i] = v
	}
	return out
}

// selectNth reorders x so that x[n] is what it would be were x sorted, nothing before
// it is above it and nothing after it below (Hoare 1961, with the median of three).
// x has no NaN.
func selectNth(x []float64, n int) {
	for len(x) > 12 {
		a, b, c := x[0], x[len(x)/2], x[len(x)-1]
		pivot := max(min(a, b), min(max(a, b), c))
		i, j := 0, len(x)-1
		for i <= j {
			for x[i] < pivot {
				i++
			}
			for x[j] > pivot {
				j--
			}
			if i <= j {
				x[i], x[j] = x[j], x[i]
				i++
				j--
			}
		}
		switch {
		case n <= j:
			x = x[:j+1]
		case n >= i:
			x, n = x[i:], n-i
		default:
			return
		}
	}
	slices.Sort(x)
}
