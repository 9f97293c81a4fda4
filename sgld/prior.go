package sgld

import (
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gonum.org/v1/gonum/stat/distuv"

	"github.com/privsgld/privsgld/datasets"
	"github.com/privsgld/privsgld/privacy"
)

// prior gives a step the gradient of ρ = −log prior, a function of the iterate alone.
type prior interface {
	// Gradient writes ∇ρ(theta) to dst, of the same length.
	Gradient(dst, theta []float64)
}

// Prior is a law of independent parameters, as the command line writes it:
//
//	LAW[,NAME=LAW]…      LAW: normal:SD | student-t:NU:SCALE | horseshoe:SCALE
//
// The law without a name is that of every parameter; one with a name is that of the
// parameter or column of that name, and the last that names a parameter holds. The
// zero Prior is normal:1. With s the standard deviation or scale, the densities are
//
//	normal      ∝ exp(−θ²/2s²)
//	student-t   ∝ (1 + θ²/(νs²))^−(ν+1)/2
//	horseshoe   = log(1 + s²/(θ² + δ)) / (2π(√(s²+δ) − √δ)),  δ = s²/100
//
// The last is the horseshoe-like density of Bhadra, Datta, Polson and Willard 2019
// (arXiv:1702.07400), which has the horseshoe's pole at 0 and its tails, with the pole
// rounded off at a tenth of the scale so that its gradient is smooth.
type Prior struct {
	all   density
	named []namedDensity
}

type namedDensity struct {
	name string
	law  density
}

// density is a symmetric law of one parameter; the zero value is normal with scale 1.
type density struct {
	kind  string // empty: normal
	nu    float64
	scale float64 // 0: 1
}

// Scales of priors, and degrees of freedom.
const (
	leastPriorScale = 1e-6
	mostPriorScale  = 1e6
	leastPriorNu    = 0.1
	mostPriorNu     = 1e6
)

const plainDecimal = `(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,3})?`

const priorLaw = `(?:(normal):(` + plainDecimal + `)|(student-t):(` + plainDecimal + `):(` + plainDecimal + `)|(horseshoe):(` + plainDecimal + `))(?:,|$)`

// A law from the front of a text, without a name and with one. A name may hold
// anything: it ends where an equals sign, a law, and a comma or the end follow.
var (
	priorUnnamed = regexp.MustCompile(`^()` + priorLaw)
	priorNamed   = regexp.MustCompile(`^(.+?)=` + priorLaw)
)

// ParsePrior reads a prior. Scales lie between 1e-6 and 1e6, degrees of freedom
// between 0.1 and 1e6; *[Conflict] otherwise.
func ParsePrior(text string) (Prior, error) {
	var p Prior
	unnamed := false
	for rest := text; rest != "" || text == ""; {
		m := priorUnnamed.FindStringSubmatch(rest)
		if m == nil {
			m = priorNamed.FindStringSubmatch(rest)
		}
		if m == nil || strings.HasSuffix(text, ",") {
			return Prior{}, conflictf("prior %q: use normal:SD, student-t:NU:SCALE or horseshoe:SCALE, and after it NAME=LAW for single coefficients or columns", text)
		}
		rest = rest[len(m[0]):]
		law := density{kind: m[2] + m[4] + m[7]}
		law.nu, _ = strconv.ParseFloat(m[5], 64) // 0 where there is none
		law.scale, _ = strconv.ParseFloat(m[3]+m[6]+m[8], 64)
		if !(law.scale >= leastPriorScale && law.scale <= mostPriorScale) {
			return Prior{}, conflictf("prior %q: a standard deviation or scale must lie between %g and %g", text, leastPriorScale, mostPriorScale)
		}
		if law.kind == "student-t" && !(law.nu >= leastPriorNu && law.nu <= mostPriorNu) {
			return Prior{}, conflictf("prior %q: degrees of freedom must lie between %g and %g", text, leastPriorNu, mostPriorNu)
		}
		switch {
		case m[1] != "":
			p.named = append(p.named, namedDensity{m[1], law})
		case unnamed || len(p.named) > 0:
			return Prior{}, conflictf("prior %q: the law of all coefficients stands first, and once", text)
		default:
			p.all, unnamed = law, true
		}
	}
	return p, nil
}

// String is what [ParsePrior] reads.
func (p Prior) String() string {
	parts := []string{p.all.String()}
	for _, n := range p.named {
		parts = append(parts, n.name+"="+n.law.String())
	}
	return strings.Join(parts, ",")
}

func (d density) String() string {
	d = d.filled()
	scale := strconv.FormatFloat(d.scale, 'g', -1, 64)
	if d.kind == "student-t" {
		return d.kind + ":" + strconv.FormatFloat(d.nu, 'g', -1, 64) + ":" + scale
	}
	return d.kind + ":" + scale
}

// filled puts the defaults in place.
func (d density) filled() density {
	if d.kind == "" {
		d.kind = "normal"
	}
	if d.scale == 0 {
		d.scale = 1
	}
	return d
}

// densities are the laws of the parameters in order: a prior of a model.
type densities []density

// bind gives every parameter its law. *[Conflict] if a name is that of no parameter
// and no column.
func (p Prior) bind(names []string, enc datasets.Encoding) (densities, error) {
	out := make(densities, len(names))
	for i := range out {
		out[i] = p.all.filled()
	}
	for _, n := range p.named {
		found := false
		for i, name := range names {
			if n.names(i, name, enc) {
				out[i], found = n.law.filled(), true
			}
		}
		if !found {
			return nil, conflictf("prior: no coefficient and no column is named %q", n.name)
		}
	}
	return out, nil
}

// names says whether n names parameter i: by its own name, by that of a coefficient
// of the encoding (of every level of a target), or by that of a column.
func (n namedDensity) names(i int, name string, enc datasets.Encoding) bool {
	d := len(enc.Coefficients)
	if name == n.name || strings.HasSuffix(name, ":"+n.name) && enc.Coefficients[i%d] == n.name {
		return true
	}
	at := slices.IndexFunc(enc.Features, func(f datasets.Feature) bool { return f.Column == n.name })
	return at >= 0 && strings.HasSuffix(name, enc.Coefficients[i%d]) && i%d >= enc.Features[at].Offset && i%d < enc.Features[at].Offset+enc.Features[at].Width
}

// Gradient writes ∇ρ(theta) to dst.
func (p densities) Gradient(dst, theta []float64) {
	for i, d := range p {
		dst[i] = d.gradient(theta[i])
	}
}

// gradient returns ρ′(θ).
func (d density) gradient(theta float64) float64 {
	s2 := d.scale * d.scale
	switch d.kind {
	case "student-t":
		return (d.nu + 1) * theta / (d.nu*s2 + theta*theta)
	case "horseshoe":
		q := theta*theta + s2*horseshoeRound
		return 2 * theta * s2 / (q * (q + s2) * math.Log1p(s2/q))
	}
	return theta / s2
}

// horseshoeRound is δ/s².
const horseshoeRound = 0.01

// curvature returns the most of ρ″, which it has at 0.
func (d density) curvature() float64 {
	s2 := d.scale * d.scale
	switch d.kind {
	case "student-t":
		return (d.nu + 1) / (d.nu * s2)
	case "horseshoe":
		return 2 / (s2 * horseshoeRound * (1 + horseshoeRound) * math.Log1p(1/horseshoeRound))
	}
	return 1 / s2
}

// precisions returns for each coefficient of one copy, then for each parameter beside
// them, the largest curvature of the prior.
func (p densities) precisions(d, copies int) []float64 {
	out := make([]float64, d+len(p)-d*copies)
	for i, law := range p {
		at := i % d
		if i >= d*copies {
			at = d + i - d*copies
		}
		out[at] = max(out[at], law.curvature())
	}
	return out
}

// draw returns a draw from the law: public randomness.
func (d density) draw(b privacy.Bits) (float64, error) {
	if d.kind == "normal" {
		// On a lattice fine enough not to matter.
		spacing := math.Ldexp(1, int(math.Floor(math.Log2(d.scale)))-40)
		g, err := privacy.NewGaussian(d.scale, spacing)
		if err != nil {
			return 0, err
		}
		return float64(g.Draw(b)) * spacing, nil
	}
	u := (float64(b.Uint64()>>11) + 0.5) * 0x1p-53
	if d.kind == "student-t" {
		return distuv.StudentsT{Mu: 0, Sigma: d.scale, Nu: d.nu}.Quantile(u), nil
	}
	return d.horseshoeQuantile(u), nil
}

// horseshoeQuantile inverts the distribution function by bisection on |θ| in
// logarithms: P(|Θ| ≤ θ) = (θ·L(θ) + 2a·atan(θ/a) − 2b·atan(θ/b)) / (π(a − b)) with
// a² = s² + δ, b² = δ and L the logarithm in the density.
func (d density) horseshoeQuantile(u float64) float64 {
	a, b := d.scale*math.Sqrt(1+horseshoeRound), d.scale*math.Sqrt(horseshoeRound)
	within := func(t float64) float64 {
		return (t*math.Log1p(d.scale*d.scale/(t*t+b*b)) + 2*a*math.Atan(t/a) - 2*b*math.Atan(t/b)) / (math.Pi * (a - b))
	}
	want := math.Abs(2*u - 1)
	low, high := d.scale*0x1p-60, d.scale*0x1p60
	for range 130 {
		mid := math.Sqrt(low) * math.Sqrt(high)
		if within(mid) < want {
			low = mid
		} else {
			high = mid
		}
	}
	return math.Copysign(high, u-0.5)
}
