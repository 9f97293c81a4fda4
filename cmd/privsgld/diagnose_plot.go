package main

import (
	"bytes"
	"errors"
	"fmt"
	"image/color"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"

	"github.com/privsgld/privsgld/cmd/job"
)

// mostPlots is how many coefficients are drawn.
const mostPlots = 200

// checkPlotFolder refuses a folder for plots that is there and not empty.
func checkPlotFolder(dir string) error {
	if dir == "" {
		return nil
	}
	entries, err := os.ReadDir(dir)
	switch {
	case err == nil && len(entries) > 0:
		return usagef("--plots %s: the folder is not empty; name a new one", dir)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return usagef("--plots %s: it is no folder that opens; name a new one", dir)
	}
	return nil
}

// chainColours are those of Okabe and Ito; further chains begin again.
var chainColours = []color.RGBA{
	{G: 0x72, B: 0xB2, A: 0xFF}, {R: 0xD5, G: 0x5E, A: 0xFF}, {G: 0x9E, B: 0x73, A: 0xFF}, {R: 0xCC, G: 0x79, B: 0xA7, A: 0xFF},
	{R: 0xE6, G: 0x9F, A: 0xFF}, {R: 0x56, G: 0xB4, B: 0xE9, A: 0xFF},
}

func chainColour(i int) color.RGBA { return chainColours[i%len(chainColours)] }

// plotDraws draws one SVG for each coefficient into a folder, and returns their names:
// the traces of the chains, their densities, and the ranks of their draws among all,
// which are even where the chains agree.
func plotDraws(dir string, d *job.Diagnosis) ([]string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, &outputError{fmt.Sprintf("%s cannot be made", dir)}
	}
	if d.Draws < 2 {
		return nil, &outputError{"there is nothing to draw: fewer than two draws a chain"}
	}
	var names []string
	for i, p := range d.Parameters {
		if i == mostPlots {
			break
		}
		name := fmt.Sprintf("%0*d-%s.svg", len(fmt.Sprint(len(d.Parameters))), i+1, plainName(p.Name))
		svg, err := drawsPlot(p, d.Values[i])
		if err != nil {
			return nil, err
		}
		if err := writeFile(filepath.Join(dir, name), svg); err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, nil
}

// plainName is a coefficient's name as a file may have it.
func plainName(name string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x80 && (r == '-' || r == '_' || r == '.' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z') {
			return r
		}
		return '_'
	}, name[:min(len(name), 60)])
}

func drawsPlot(p job.DiagnosedParameter, chains [][]float64) ([]byte, error) {
	trace, err := tracePlot(chains)
	if err != nil {
		return nil, fmt.Errorf("plot: %w", err)
	}
	density, err := densityPlot(chains)
	if err != nil {
		return nil, fmt.Errorf("plot: %w", err)
	}
	ranks, err := rankPlot(chains)
	if err != nil {
		return nil, fmt.Errorf("plot: %w", err)
	}
	trace.Title.Text = fmt.Sprintf("%s\nR-hat %.3f, ESS bulk %.0f, tail %.0f", p.Name, p.RHat, p.ESSBulk, p.ESSTail)
	canvas := vgsvg.New(plotWidth, 2*plotHeight)
	all := draw.New(canvas)
	third := plotHeight * 2 / 3
	for i, part := range []*plot.Plot{ranks, density, trace} {
		low := vg.Length(i) * third
		part.Draw(draw.Crop(all, 8, -16, low+4, low+third-4-2*plotHeight))
	}
	var b bytes.Buffer
	if _, err := canvas.WriteTo(&b); err != nil {
		return nil, fmt.Errorf("plot: %w", err)
	}
	return bytes.ReplaceAll(b.Bytes(), []byte("font-family:"+plotFamily+";"), []byte("font-family:"+plotFamily+",Arial,Helvetica,sans-serif;")), nil
}

// tracePoints is the most points of a chain's trace.
const tracePoints = 2000

func tracePlot(chains [][]float64) (*plot.Plot, error) {
	p := newPlot("", "", "draw", "value")
	p.Y.Tick.Marker = plot.DefaultTicks{}
	for i, c := range chains {
		every := (len(c) + tracePoints - 1) / tracePoints
		var points plotter.XYs
		for j := 0; j < len(c); j += every {
			points = append(points, plotter.XY{X: float64(j + 1), Y: c[j]})
		}
		if err := addLine(p, points, i); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// densityPoints is how many points a density has.
const densityPoints = 128

// densityPlot draws Gaussian kernel densities, by Silverman's rule.
func densityPlot(chains [][]float64) (*plot.Plot, error) {
	p := newPlot("", "", "value", "density")
	p.X.Tick.Marker, p.Y.Tick.Marker = plot.DefaultTicks{}, plot.DefaultTicks{}
	p.Title.Text = ""
	low, high := math.Inf(1), math.Inf(-1)
	for _, c := range chains {
		low, high = min(low, slices.Min(c)), max(high, slices.Max(c))
	}
	if !(high > low) {
		return p, nil // all draws are one value: a density would be a spike
	}
	for i, c := range chains {
		mean, squares := 0.0, 0.0
		for _, x := range c {
			mean += x / float64(len(c))
		}
		for _, x := range c {
			squares += (x - mean) * (x - mean)
		}
		width := max(1.06*math.Sqrt(squares/float64(len(c)-1))*math.Pow(float64(len(c)), -0.2), (high-low)/1000)
		var points plotter.XYs
		for k := range densityPoints {
			x := low + (high-low)*float64(k)/(densityPoints-1)
			sum := 0.0
			for _, v := range c {
				z := (x - v) / width
				sum += math.Exp(-z * z / 2)
			}
			points = append(points, plotter.XY{X: x, Y: sum / (float64(len(c)) * width * math.Sqrt(2*math.Pi))})
		}
		if err := addLine(p, points, i); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// rankBins is how many bins of ranks there are.
const rankBins = 20

// rankPlot counts each chain's ranks among the draws of all chains.
func rankPlot(chains [][]float64) (*plot.Plot, error) {
	p := newPlot("", "", "rank among all draws", "share of the chain")
	p.Title.Text = ""
	p.Y.Tick.Marker = plot.DefaultTicks{}
	p.Y.Min = 0
	all := slices.Concat(chains...)
	slices.Sort(all)
	for i, c := range chains {
		var bins [rankBins]float64
		for _, x := range c {
			// A tie has the middle of its ranks.
			first, _ := slices.BinarySearch(all, x)
			after, _ := slices.BinarySearch(all, math.Nextafter(x, math.Inf(1)))
			bins[min(rankBins-1, rankBins*(first+after)/(2*len(all)))] += 1 / float64(len(c))
		}
		var points plotter.XYs
		for k, share := range bins {
			for _, edge := range []int{k, k + 1} {
				points = append(points, plotter.XY{X: float64(edge*len(all)) / rankBins, Y: share})
			}
		}
		if err := addLine(p, points, i); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func addLine(p *plot.Plot, points plotter.XYs, chain int) error {
	line, err := plotter.NewLine(points)
	if err != nil {
		return err
	}
	line.Color, line.Width = chainColour(chain), vg.Points(0.9)
	p.Add(line)
	return nil
}
