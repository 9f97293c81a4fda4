package sgld

import (
	"bytes"
	"flag"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"

	"github.com/privsgld/privsgld/accountant"
	"github.com/privsgld/privsgld/privacy"
)

// The demonstrations: six statements of the theory, each measured and compared with
// its closed form. The figure of the README is made from the same numbers by
//
//	go test ./sgld -run Demo -update-figures
var updateFigures = flag.Bool("update-figures", false, "write the figures of the demonstrations again")

const figureFile = "../testdata/figures/dynamics.svg"

// panel is one plot: points that were measured, and lines that the theory gives.
type panel struct {
	title, x, y string
	logX, logY  bool
	top, left   bool // the legend
	points      []series
	lines       []series
}

type series struct {
	name string
	xy   plotter.XYs
}

func (s *series) add(x, y float64) { s.xy = append(s.xy, plotter.XY{X: x, Y: y}) }

// slope is that of the least-squares line through the logarithms.
func slope(xy plotter.XYs) float64 {
	var x, y, xx, cross float64
	n := float64(len(xy))
	for _, p := range xy {
		a, b := math.Log(p.X), math.Log(p.Y)
		x, y, xx, cross = x+a, y+b, xx+a*a, cross+a*b
	}
	return (n*cross - x*y) / (n*xx - x*x)
}

// demoBias: at a constant step the variance is too large by η·λ/2 of itself, in
// proportion to the step.
func demoBias(t testing.TB) panel {
	const n = 400_000
	measured, exact := series{name: "measured"}, series{name: "exact"}
	shares := series{}
	for i, eta := range []float64{0.1, 0.2, 0.4, 0.8} {
		v := 1 / (1 - eta/2)
		x := ensemble(n, 0, &Plan{}, quadratic(1, generator(uint64(900+i))))
		r := generator(uint64(910 + i))
		for j := range x.phi {
			x.phi[j] = math.Sqrt(v) * r.NormFloat64()
		}
		copy(x.theta, x.phi)
		x.take(t, langevin(eta, 1, 1), 4)
		z := zOfVariance(x.theta, 0, v)
		checkZ(t, "bias", z)
		got := v * (1 + z/math.Sqrt(n/2))
		measured.add(eta, got-1)
		exact.add(eta, v-1)
		shares.add(eta, (got-1)/got) // ηλ/2 exactly
	}
	if s := slope(shares.xy); math.Abs(s-1) > 0.1 {
		t.Errorf("the bias goes with the step to the power %.3f, want 1", s)
	}
	return panel{title: "bias of a constant step", x: "η", y: "variance / target - 1", logX: true, logY: true, top: true, left: true, points: []series{measured}, lines: []series{exact}}
}

// demoError: the error of an average of θ² over n draws is least at a step that
// shrinks as n^(−1/3), and is then of that order too. Both slopes are within 0.05 of
// those of the exact minimiser; a parabola through seven errors, each known to 3 %,
// has its least point to 0.015 in the logarithm, and a slope is known to 0.008.
func demoError(t testing.TB) panel {
	const repetitions = 2000
	step, err := series{name: "best step"}, series{name: "error there"}
	exactStep, exactErr := series{name: "exact"}, series{name: "exact"}
	for i, n := range []int{125, 500, 2000} {
		best, least := bestStep(1, 1, n)
		exactStep.add(float64(n), best)
		exactErr.add(float64(n), math.Sqrt(least))
		var x, y [7]float64
		for k := range 7 {
			x[k] = 0.2 * float64(k-3)
			eta := best * math.Exp(x[k])
			c := ensemble(repetitions, 0, &Plan{}, quadratic(1, generator(uint64(920+10*i+k))))
			r := generator(uint64(960 + 10*i + k))
			for j := range c.phi {
				c.phi[j] = r.NormFloat64() / math.Sqrt(1-eta/2)
			}
			copy(c.theta, c.phi)
			sum := make([]float64, repetitions)
			for range n {
				c.take(t, langevin(eta, 1, 1), 1)
				for j, v := range c.theta {
					sum[j] += v * v
				}
			}
			var mse float64
			for _, s := range sum {
				e := s/float64(n) - 1
				mse += e * e / repetitions
			}
			y[k] = math.Log(mse)
			b, v := squareError(eta, 1, 1, n, false)
			// An average of squares has tails of its own: half as wide again.
			checkZ(t, "error", (mse/(b*b+v)-1)/math.Sqrt(2.0/repetitions)/1.5)
		}
		at, value := parabola(x[:], y[:])
		step.add(float64(n), best*math.Exp(at))
		err.add(float64(n), math.Exp(value/2))
	}
	for _, pair := range [][2]series{{step, exactStep}, {err, exactErr}} {
		if got, want := slope(pair[0].xy), slope(pair[1].xy); math.Abs(got-want) > 0.05 {
			t.Errorf("%s: slope %.3f, want %.3f", pair[0].name, got, want)
		}
	}
	return panel{title: "n^(-1/3) at the best constant step", x: "draws n", y: "best η, and error there", logX: true, logY: true, top: true, points: []series{step, err}, lines: []series{exactStep, exactErr}}
}

// parabola fits one by least squares and returns its least point and value.
func parabola(x, y []float64) (at, value float64) {
	// The x are symmetric about 0, so that odd moments vanish.
	var n, x2, x4, sy, sxy, sx2y float64
	for i, v := range x {
		n++
		x2 += v * v
		x4 += v * v * v * v
		sy += y[i]
		sxy += v * y[i]
		sx2y += v * v * y[i]
	}
	c := (n*sx2y - x2*sy) / (n*x4 - x2*x2)
	b := sxy / x2
	a := (sy - c*x2) / n
	at = -b / (2 * c)
	return at, a + b*at + c*at*at
}

// demoBatch: the noise of a batch's gradient, through the sum that a run uses, goes as
// one over the batch: Var(s/q) = ((1−q)/q)·Σg² + (zC/q)², here in the intercept.
func demoBatch(t testing.TB) panel {
	const draws = 8000
	rows := testRows(200, testTheta, 0, 77)
	measured, exact := series{name: "measured"}, series{name: "exact"}
	var g2 float64
	for _, row := range rows {
		var u float64
		for j, v := range row.dense() {
			u += v * testTheta[j]
		}
		g := 1/(1+math.Exp(-u)) - float64(row.y)
		g2 += g * g
	}
	for i, q := range []float64{0.02, 0.05, 0.1, 0.25, 0.5} {
		const clip, z = 8, 1e-3
		design, err := newDesign(testRecords(rows, 200), testEncoding())
		if err != nil {
			t.Fatal(err)
		}
		m, err := logistic{}.facts().metric(identityRoot(5), 0, nil, clip, z)
		if err != nil {
			t.Fatal(err)
		}
		s, err := newNoisySum(design, accountant.AddRemove, logistic{}, m, clip, q, privacy.NewSeeded(uint64(980+i), "batches"))
		if err != nil {
			t.Fatal(err)
		}
		dst := make([]float64, 5)
		values := make([]float64, draws)
		var mean float64
		for k := range values {
			if err := s.draw(dst, testTheta, z); err != nil {
				t.Fatal(err)
			}
			values[k] = dst[0] / q
			mean += values[k] / draws
		}
		var m2, m4 float64
		for _, v := range values {
			d := (v - mean) * (v - mean)
			m2 += d / draws
			m4 += d * d / draws
		}
		want := (1-q)/q*g2 + z*clip/q*z*clip/q
		checkZ(t, "gradient noise", (m2-want)/math.Sqrt((m4-m2*m2)/draws))
		b := q * float64(len(rows))
		measured.add(b, m2/(1-q))
		exact.add(b, want/(1-q))
	}
	if s := slope(measured.xy); math.Abs(s+1) > 0.05 {
		t.Errorf("the noise goes with the batch to the power %.3f, want -1", s)
	}
	return panel{title: "gradient noise of a batch", x: "mean batch size", y: "variance / (1-q)", logX: true, logY: true, top: true, points: []series{measured}, lines: []series{exact}}
}

// demoDecreasing: a constant step keeps its bias, steps that fall by Robbins and
// Monro's conditions lose it.
func demoDecreasing(t testing.TB) panel {
	const n, steps = 30_000, 300
	p := panel{title: "decreasing steps lose the bias", x: "step k", y: "variance / target - 1", logX: true, top: true, left: true}
	var last [2]float64
	for i, schedule := range []Schedule{{}, {Alpha: 0.6}} {
		x := ensemble(n, 0, &Plan{}, quadratic(1, generator(uint64(990+i))))
		measured, exact := series{name: schedule.String()}, series{name: schedule.String()}
		law := timeAverage{}
		k := 0
		for _, s := range schedule.shape(steps) {
			eta := 0.5 * s.size
			for range s.steps {
				x.take(t, langevin(eta, 1, 1), 1)
				law.move(1-eta, 2*eta)
				k++
				if k == 1 || k == 3 || k == 10 || k == 30 || k == 100 || k == steps {
					z := zOfVariance(x.theta, 0, law.v)
					checkZ(t, "variance", z)
					last[i] = law.v*(1+z/math.Sqrt(n/2)) - 1
					measured.add(float64(k), last[i])
					exact.add(float64(k), law.v-1)
				}
			}
		}
		p.points, p.lines = append(p.points, measured), append(p.lines, exact)
	}
	if last[0] < 0.25 || math.Abs(last[1]) > 0.05 {
		t.Errorf("biases after %d steps: %.3f constant, %.3f decreasing", steps, last[0], last[1])
	}
	return p
}

// demoLimit: with the same noise, the path of underdamped dynamics goes to SGLD's in
// proportion to the momentum.
func demoLimit(t testing.TB) panel {
	path := func(a float64) []float64 {
		g := lcg(11)
		x := ensemble(1, 1, &Plan{Momentum: a}, sumFunc(func(dst, theta []float64, z float64) {
			dst[0] = theta[0] - z*math.Sqrt(12)*(g.uniform()-0.5)
		}))
		var out []float64
		for range 50 {
			x.take(t, langevin(0.1/(1-a), 1, 1), 1)
			out = append(out, x.theta[0])
		}
		return out
	}
	plain := path(0)
	measured, line := series{name: "largest distance"}, series{name: "slope 1"}
	for _, a := range []float64{0.1, 0.03, 0.01, 0.003, 0.001, 0.0003, 0.0001} {
		var worst float64
		for k, x := range path(a) {
			worst = math.Max(worst, math.Abs(x-plain[k]))
		}
		measured.add(a, worst)
	}
	first := measured.xy[len(measured.xy)-1]
	line.add(first.X, first.Y)
	line.add(0.1, first.Y*0.1/first.X)
	if s := slope(measured.xy); math.Abs(s-1) > 0.02 {
		t.Errorf("the distance goes with the momentum to the power %.3f, want 1", s)
	}
	return panel{title: "SGHMC goes to SGLD", x: "momentum a", y: "distance of the paths", logX: true, logY: true, top: true, left: true, points: []series{measured}, lines: []series{line}}
}

// demoWells: of two wells a chain at a low temperature keeps to the one where it
// began; at a high one it visits both alike. U = 4(θ² − 1)², with a barrier of 4.
func demoWells(t testing.TB) panel {
	const n, steps = 10_000, 800
	p := panel{title: "two wells, begun in the left one", x: "diffusion time", y: "share in the right one", top: true}
	for i, c := range []struct {
		temperature float64
		name        string
	}{{0.4, "T = 0.4"}, {4, "T = 4"}} {
		r := generator(uint64(1000 + i))
		x := ensemble(n, -1, &Plan{}, sumFunc(func(dst, theta []float64, z float64) {
			for j, v := range theta {
				dst[j] = 16*v*(v*v-1) + z*r.NormFloat64()
			}
		}))
		s := series{name: c.name}
		share := 0.0
		for k := 1; k <= steps; k++ {
			x.take(t, langevin(0.005, c.temperature, 1), 1)
			if k%50 == 0 {
				share = 0
				for _, v := range x.theta {
					if v > 0 {
						share += 1.0 / n
					}
				}
				s.add(0.005*float64(k), share)
			}
		}
		p.points = append(p.points, s)
		if i == 0 && share > 0.02 {
			t.Errorf("at a low temperature %.3f of the chains change the well", share)
		}
		if i == 1 {
			checkZ(t, "share of the right well", (share-0.5)*2*math.Sqrt(n))
		}
	}
	p.lines = []series{{name: "both alike", xy: plotter.XYs{{X: 0, Y: 0.5}, {X: 0.005 * steps, Y: 0.5}}}}
	return p
}

// TestDemo measures the six statements. With -update-figures it writes the figure;
// otherwise the figure must be there, and made of these panels.
func TestDemo(t *testing.T) {
	var panels []panel
	for _, d := range []struct {
		name string
		run  func(testing.TB) panel
	}{{"bias", demoBias}, {"error", demoError}, {"batch", demoBatch}, {"decreasing", demoDecreasing}, {"limit", demoLimit}, {"wells", demoWells}} {
		t.Run(d.name, func(t *testing.T) { panels = append(panels, d.run(t)) })
	}
	if *updateFigures {
		if err := os.MkdirAll(filepath.Dir(figureFile), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(figureFile, figure(t, panels), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(figureFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range panels {
		if !strings.Contains(string(got), ">"+p.title+"<") {
			t.Errorf("the figure has no panel %q: make it again with -update-figures", p.title)
		}
	}
}

// figure draws the panels in two rows, as SVG.
func figure(t testing.TB, panels []panel) []byte {
	t.Helper()
	const columns = 3
	rows := (len(panels) + columns - 1) / columns
	canvas := vgsvg.New(columns*8.5*vg.Centimeter, vg.Length(rows)*6.5*vg.Centimeter)
	tiles := draw.Tiles{Rows: rows, Cols: columns, PadX: vg.Millimeter * 4, PadY: vg.Millimeter * 4, PadTop: vg.Millimeter * 2, PadBottom: vg.Millimeter * 2, PadLeft: vg.Millimeter * 2, PadRight: vg.Millimeter * 4}
	plots := make([][]*plot.Plot, rows)
	for i := range plots {
		plots[i] = make([]*plot.Plot, columns)
	}
	for i, p := range panels {
		plots[i/columns][i%columns] = p.plot(t)
	}
	for i, row := range plot.Align(plots, tiles, draw.New(canvas)) {
		for j, c := range row {
			if plots[i][j] != nil {
				plots[i][j].Draw(c)
			}
		}
	}
	var out bytes.Buffer
	if _, err := canvas.WriteTo(&out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func (p panel) plot(t testing.TB) *plot.Plot {
	t.Helper()
	out := plot.New()
	out.Title.Text, out.X.Label.Text, out.Y.Label.Text = p.title, p.x, p.y
	for _, axis := range []*plot.Axis{&out.X, &out.Y} {
		axis.Label.TextStyle.Font.Size, axis.Tick.Label.Font.Size = 9, 8
	}
	out.Title.TextStyle.Font.Size, out.Legend.TextStyle.Font.Size = 10, 8
	out.Title.Padding = vg.Points(4)
	out.Legend.Top, out.Legend.Left = p.top, p.left
	for i, s := range p.lines {
		line, err := plotter.NewLine(s.xy)
		if err != nil {
			t.Fatal(err)
		}
		line.Dashes = []vg.Length{vg.Points(1 + 3*float64(i)), vg.Points(2)}
		out.Add(line)
		if i == 0 && s.name != p.points[0].name {
			out.Legend.Add(s.name, line)
		}
	}
	for i, s := range p.points {
		points, err := plotter.NewScatter(s.xy)
		if err != nil {
			t.Fatal(err)
		}
		points.Shape = []draw.GlyphDrawer{draw.CircleGlyph{}, draw.BoxGlyph{}}[i%2]
		points.Radius = vg.Points(2.5)
		out.Add(points)
		out.Legend.Add(s.name, points)
	}
	for _, axis := range []struct {
		*plot.Axis
		logarithmic bool
	}{{&out.X, p.logX}, {&out.Y, p.logY}} {
		if axis.logarithmic {
			axis.Scale, axis.Tick.Marker = plot.LogScale{}, plot.TickerFunc(oneTwoFive)
			axis.Min, axis.Max = axis.Min/1.3, axis.Max*1.3
		} else {
			room := (axis.Max - axis.Min) / 20
			axis.Min, axis.Max = axis.Min-room, axis.Max+room
		}
	}
	if !p.logY {
		out.Y.Max += (out.Y.Max - out.Y.Min) / 3 // the legend's
	}
	return out
}

// oneTwoFive labels a logarithmic axis at 1, 2 and 5 of each decade, or at 1 of many.
func oneTwoFive(low, high float64) []plot.Tick {
	var out []plot.Tick
	for e := math.Floor(math.Log10(low)); e <= math.Log10(high); e++ {
		for _, m := range []float64{1, 2, 5} {
			v := m * math.Pow(10, e)
			tick := plot.Tick{Value: v}
			if m == 1 || high/low < 100 {
				tick.Label = strconv.FormatFloat(v, 'f', -1, 64)
			}
			if v >= low && v <= high {
				out = append(out, tick)
			}
		}
	}
	return out
}
