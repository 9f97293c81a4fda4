package main

import (
	"bytes"
	"errors"
	"fmt"
	"image/color"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"

	"github.com/privsgld/privsgld/accountant"
)

// checkPlot refuses what cannot become a plot before anything is computed.
func checkPlot(path string) error {
	if path == "" {
		return nil
	}
	if filepath.Ext(path) != ".svg" {
		return usagef("--plot %s: the name must end in .svg", path)
	}
	return checkOutput(path)
}

// plotPoints is how many points a curve has.
const plotPoints = 25

// curve is what one accountant says, point by point.
type curve struct {
	method accountant.Method
	points plotter.XYs
}

// methodNames, with the colours of Okabe and Ito that tell apart under every
// kind of colour vision, and dashes for print.
var methodStyles = map[accountant.Method]struct {
	name   string
	colour color.RGBA
	dashes []vg.Length
}{
	accountant.MethodRDP: {"RDP", color.RGBA{R: 0xD5, G: 0x5E, A: 0xFF}, nil},
	accountant.MethodPLD: {"PLD", color.RGBA{G: 0x72, B: 0xB2, A: 0xFF}, []vg.Length{vg.Points(7), vg.Points(3)}},
	accountant.MethodGDP: {"Gaussian DP", color.RGBA{G: 0x9E, B: 0x73, A: 0xFF}, []vg.Length{vg.Points(2), vg.Points(2)}},
}

// curves asks every accountant for its points; those that do not support the
// events have none.
func curves(of func(m accountant.Method) (plotter.XYs, error)) ([]curve, error) {
	var out []curve
	for _, m := range methods {
		points, err := of(m)
		if err != nil && !errors.Is(err, accountant.ErrUnsupported) {
			return nil, accountError(err)
		}
		if err == nil && len(points) > 0 {
			out = append(out, curve{m, points})
		}
	}
	if len(out) == 0 {
		return nil, usagef("--plot: there is nothing to draw: the loss is infinite, or nothing is lost")
	}
	return out, nil
}

// plotSteps draws ε against steps, up to those of the question, with a line at
// eps, and returns the file's name.
func plotSteps(q *question, eps float64) (string, error) {
	if q.plot == "" {
		return "", nil
	}
	d := q.delta.Float64Down()
	found, err := curves(func(m accountant.Method) (points plotter.XYs, err error) {
		for _, n := range stepCounts(q.steps.count) {
			s := q.steps
			s.count = n
			v, _, err := accountant.Epsilon(m, s.coarse(), d)
			if err != nil {
				return nil, err
			}
			if !math.IsInf(v, 1) {
				points = append(points, plotter.XY{X: float64(n), Y: v})
			}
		}
		return points, nil
	})
	if err != nil {
		return "", err
	}
	p := newPlot(fmt.Sprintf("Privacy loss against steps at δ = %s", q.delta), q.steps.subtitle(), "steps", "ε (nats)")
	p.Legend.Left = true
	p.X.Min, p.Y.Min = 0, 0
	return q.plot, drawPlot(q.plot, p, found, plotter.XY{X: float64(q.steps.count), Y: eps})
}

// stepCounts are at most 25 numbers of steps up to most, denser where the curve
// bends.
func stepCounts(most int64) []int64 {
	var out []int64
	for i := range plotPoints {
		share := float64(i+1) / plotPoints
		out = append(out, max(1, int64(math.Round(float64(most)*share*share))))
	}
	return slices.Compact(out)
}

// plotProfile draws the privacy profile δ(ε) some way past (eps, delta) and returns
// the file's name. The axis is linear in log δ: with the library's logarithmic one
// there would be room above the plot for a label that does not stand there.
func plotProfile(q *question, e accountant.Event, eps, delta float64) (string, error) {
	if q.plot == "" {
		return "", nil
	}
	least := math.Log10(min(1e-10, max(delta, 1e-298)/100))
	if delta == 0 {
		least = -10
	}
	found, err := curves(func(m accountant.Method) (points plotter.XYs, err error) {
		start, _, err := accountant.Delta(m, e, 0)
		if err != nil {
			return nil, err
		}
		if start > 0 {
			points = plotter.XYs{{X: 0, Y: math.Log10(start)}}
		}
		for i := range plotPoints {
			y := least * float64(i+1) / plotPoints
			x, _, err := accountant.Epsilon(m, e, math.Pow(10, y))
			if err != nil {
				return nil, err
			}
			if x > 0 && !math.IsInf(x, 1) {
				points = append(points, plotter.XY{X: x, Y: y})
			}
		}
		// What holds at one δ holds at every larger one.
		for i := len(points) - 2; i >= 0; i-- {
			points[i].X = min(points[i].X, points[i+1].X)
		}
		return points, nil
	})
	if err != nil {
		return "", err
	}
	subtitle := string(e.Adjacency)
	if q.steps.count > 0 {
		subtitle = q.steps.subtitle()
	}
	p := newPlot("Privacy profile", subtitle, "ε (nats)", "δ (probability, logarithmic)")
	p.Legend.Left = false
	p.X.Min = 0
	p.Y.Tick.Marker = decadeTicks{}
	p.Y.Max = 0
	return q.plot, drawPlot(q.plot, p, found, plotter.XY{X: eps, Y: math.Log10(delta)})
}

func (s steps) subtitle() string {
	noise := "z = " + short(s.z)
	if s.alpha != 0 {
		noise += fmt.Sprintf("·k^%s", short(s.alpha/2))
	}
	return fmt.Sprintf("rate %s, %s, %s", short(s.q), noise, s.adjacency)
}

// coarse is the event for a plot, where a long schedule would take minutes: by
// blocks of 10 %, whose error is less than a line is wide.
func (s steps) coarse() accountant.Event {
	if s.alpha == 0 || s.count <= 100 {
		return s.event()
	}
	return s.grouped(s.blocks(1.1))
}

const (
	plotWidth  = 6.4 * vg.Inch
	plotHeight = 4.4 * vg.Inch
	plotFamily = "Liberation Sans"
)

func newPlot(title, subtitle, x, y string) *plot.Plot {
	p := plot.New()
	p.Title.Text = title + "\n" + subtitle
	p.X.Label.Text, p.Y.Label.Text = x, y
	p.Legend.Top = true
	p.Legend.Padding = vg.Points(3)
	p.Legend.XOffs, p.Legend.YOffs = vg.Points(-8), vg.Points(-6)
	p.Legend.ThumbnailWidth = vg.Points(28)
	for _, f := range []*draw.TextStyle{&p.Title.TextStyle, &p.X.Label.TextStyle, &p.Y.Label.TextStyle, &p.X.Tick.Label, &p.Y.Tick.Label, &p.Legend.TextStyle} {
		f.Font.Variant = "Sans"
	}
	p.Title.TextStyle.Font.Size = vg.Points(12)
	p.Title.Padding = vg.Points(8)
	p.X.Tick.Marker, p.Y.Tick.Marker = roundTicks{}, roundTicks{}
	return p
}

// drawPlot adds the curves and a mark at the point in question, and writes the
// file. Equal input gives equal bytes.
func drawPlot(path string, p *plot.Plot, found []curve, mark plotter.XY) error {
	grid := plotter.NewGrid()
	grid.Vertical.Color, grid.Horizontal.Color = color.Gray{Y: 0xE4}, color.Gray{Y: 0xE4}
	p.Add(grid)
	if p.Legend.Left {
		p.Legend.XOffs = -p.Legend.XOffs
	}
	for _, c := range found {
		style := methodStyles[c.method]
		line, err := plotter.NewLine(c.points)
		if err != nil {
			return fmt.Errorf("plot: %w", err)
		}
		if len(c.points) == 1 { // a line of one point would not be seen
			line.XYs = append(line.XYs, plotter.XY{X: p.X.Min, Y: c.points[0].Y})
		}
		line.Color, line.Width, line.Dashes = style.colour, vg.Points(1.8), style.dashes
		p.Add(line)
		p.Legend.Add(style.name, line)
	}
	if !math.IsInf(mark.X, 0) && !math.IsInf(mark.Y, 0) {
		at, err := plotter.NewScatter(plotter.XYs{mark})
		if err != nil {
			return fmt.Errorf("plot: %w", err)
		}
		at.Color, at.Shape, at.Radius = color.Black, draw.RingGlyph{}, vg.Points(4)
		p.Add(at)
		p.Legend.Add("asked", at)
	}
	canvas := vgsvg.New(plotWidth, plotHeight)
	const margin = 8
	p.Draw(draw.Crop(draw.New(canvas), margin, -2*margin, margin, -margin))
	var b bytes.Buffer
	if _, err := canvas.WriteTo(&b); err != nil {
		return fmt.Errorf("plot: %w", err)
	}
	// The metrics are those of the free font; its usual twins serve where it is
	// not installed.
	svg := bytes.ReplaceAll(b.Bytes(), []byte("font-family:"+plotFamily+";"), []byte("font-family:"+plotFamily+",Arial,Helvetica,sans-serif;"))
	return writeFile(path, svg)
}

// roundTicks labels some six round numbers, with blanks between thousands.
type roundTicks struct{}

// Ticks implements plot.Ticker.
func (roundTicks) Ticks(low, high float64) []plot.Tick {
	width := (high - low) / 6
	step := math.Pow(10, math.Ceil(math.Log10(width)))
	for _, part := range []float64{5, 2} {
		if step/part >= width {
			step /= part
			break
		}
	}
	var ticks []plot.Tick
	for k := math.Ceil(low / step); k*step <= high*(1+1e-9); k++ {
		label := strconv.FormatFloat(k*step, 'g', 10, 64)
		if high >= 1e4 {
			label = thousands(label)
		}
		ticks = append(ticks, plot.Tick{Value: k * step, Label: label})
	}
	return ticks
}

func thousands(text string) string {
	if strings.ContainsAny(text, "e.") {
		return text
	}
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + " " + text[i:]
	}
	return text
}

// decadeTicks labels the powers of ten of an axis of logarithms, not more than
// fit.
type decadeTicks struct{}

// Ticks implements plot.Ticker.
func (decadeTicks) Ticks(low, high float64) []plot.Tick {
	first, last := int(math.Ceil(low-1e-9)), int(math.Floor(high+1e-9))
	every := 1 + (last-first)/10
	var ticks []plot.Tick
	for k := first; k <= last; k++ {
		t := plot.Tick{Value: float64(k)}
		switch {
		case k == 0:
			t.Label = "1"
		case k%every == 0:
			t.Label = "1e" + strconv.Itoa(k)
		}
		ticks = append(ticks, t)
	}
	return ticks
}
