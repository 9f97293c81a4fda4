package sgld

import "math"

// A Scorer compares predictions with the targets that rows carry. It is for rows
// that nobody protects.
type Scorer struct {
	score score
	total scoreTotal
}

// A score is what one model's predictions are held against.
type score interface {
	// add counts a row with a target: v are the values of its columns.
	add(y float64, v []float64)

	// result fills in what is special to the model.
	result(s *Scores)
}

type scoreTotal struct {
	rows, without int64
	logs          float64
}

// Scores say how good predictions were. Rows without a target, or with a level of it
// that the policy does not declare, are not scored.
type Scores struct {
	Rows     int64    `json:"rows"`           // scored
	Unscored int64    `json:"unscored"`       // without a target
	LogScore *float64 `json:"mean_log_score"` // mean of log p(y | x) in nats; higher is better

	// Of classes: the share of rows whose most probable class was theirs, and a table
	// of how often what was given a probability came about. CalibrationError is the
	// mean distance of the two, weighted by rows (expected calibration error).
	Accuracy         *float64      `json:"accuracy,omitempty"`
	CalibrationError *float64      `json:"calibration_error,omitempty"`
	Calibration      []Reliability `json:"calibration,omitempty"`

	// Of numbers: the root of the mean squared distance from the predicted mean, in
	// the target's unit, and the share of rows within the predictive interval of 90 %.
	// Targets are compared as they stand, not clamped to the policy's bounds; the log
	// score is of the density in the target's unit, of counts of their probability.
	RMSE     *float64 `json:"rmse,omitempty"`
	Coverage *float64 `json:"coverage_90,omitempty"`
}

// Reliability is a bin of predicted probabilities.
type Reliability struct {
	From      float64 `json:"from"`
	To        float64 `json:"to"`
	Rows      int64   `json:"rows"`
	Predicted float64 `json:"predicted"` // mean probability
	Observed  float64 `json:"observed"`  // share that came about
}

// NewScorer returns a scorer of the predictor's model.
func NewScorer(p *Predictor) *Scorer {
	return &Scorer{score: p.law.score()}
}

// Add counts a batch.
func (s *Scorer) Add(p *Predicted) {
	v := make([]float64, len(p.Values))
	for row, y := range p.Targets {
		if math.IsNaN(p.LogDensity[row]) {
			s.total.without++
			continue
		}
		for i := range v {
			v[i] = p.Values[i][row]
		}
		s.total.rows++
		s.total.logs += p.LogDensity[row]
		s.score.add(y, v)
	}
}

// Scores returns the scores of what was added; they are nil where no row had a
// target, and LogScore where a target had probability 0.
func (s *Scorer) Scores() *Scores {
	out := &Scores{Rows: s.total.rows, Unscored: s.total.without}
	if out.Rows == 0 {
		return out
	}
	if mean := s.total.logs / float64(out.Rows); !math.IsInf(mean, 0) {
		out.LogScore = &mean
	}
	s.score.result(out)
	return out
}

// reliabilityBins is how many bins of equal width there are.
const reliabilityBins = 10

// classScore scores probabilities of classes.
type classScore struct {
	rows, right int64
	bins        [reliabilityBins]Reliability
}

// class counts a row; probability is that given to something which came about or not.
func (c *classScore) class(probability float64, cameAbout, right bool) {
	c.rows++
	if right {
		c.right++
	}
	b := &c.bins[min(int(probability*reliabilityBins), reliabilityBins-1)]
	b.Rows++
	b.Predicted += probability
	if cameAbout {
		b.Observed++
	}
}

func (c *classScore) result(s *Scores) {
	accuracy, distance := float64(c.right)/float64(c.rows), 0.0
	for i, b := range c.bins {
		b.From, b.To = float64(i)/reliabilityBins, float64(i+1)/reliabilityBins
		if b.Rows > 0 {
			distance += math.Abs(b.Predicted-b.Observed) / float64(c.rows)
			b.Predicted /= float64(b.Rows)
			b.Observed /= float64(b.Rows)
		}
		s.Calibration = append(s.Calibration, b)
	}
	s.Accuracy, s.CalibrationError = &accuracy, &distance
}

// numberScore scores predictions of numbers, by the columns of numberColumns.
type numberScore struct {
	rows, within int64
	squares      float64
}

func (s *numberScore) add(y float64, v []float64) {
	s.rows++
	s.squares += (y - v[0]) * (y - v[0])
	if y >= v[3] && y <= v[4] {
		s.within++
	}
}

func (s *numberScore) result(out *Scores) {
	rmse, coverage := math.Sqrt(s.squares/float64(s.rows)), float64(s.within)/float64(s.rows)
	out.RMSE, out.Coverage = &rmse, &coverage
}
