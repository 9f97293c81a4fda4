package job

import (
	"compress/gzip"
	"context"
	"encoding/csv"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/apache/arrow/go/v15/parquet/pqarrow"
)

// healthTable returns the rows of the health insurance table, header first.
func healthTable(t *testing.T) [][]string {
	t.Helper()
	f, err := os.Open(filepath.Join("..", "..", "testdata", "tables", "healthinsurance.csv.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	unzipped, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(unzipped).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

func (s *shop) writeCSV(name string, rows [][]string) string {
	s.t.Helper()
	var b strings.Builder
	if err := csv.NewWriter(&b).WriteAll(rows); err != nil {
		s.t.Fatal(err)
	}
	return s.write(name, b.String())
}

// writeTyped writes rows as Parquet or as an Arrow file, by the name's ending: columns
// of whole numbers as such, others as text.
func (s *shop) writeTyped(name string, rows [][]string) string {
	s.t.Helper()
	var fields []arrow.Field
	for i, column := range rows[0] {
		kind := arrow.DataType(arrow.BinaryTypes.String)
		if _, err := strconv.Atoi(rows[1][i]); err == nil {
			kind = arrow.PrimitiveTypes.Int64
		}
		fields = append(fields, arrow.Field{Name: column, Type: kind})
	}
	b := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema(fields, nil))
	defer b.Release()
	for _, row := range rows[1:] {
		for i, cell := range row {
			if err := b.Field(i).AppendValueFromString(cell); err != nil {
				s.t.Fatal(err)
			}
		}
	}
	record := b.NewRecord()
	f, err := os.Create(s.path(name))
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	var writer interface {
		Write(arrow.Record) error
		Close() error
	}
	if filepath.Ext(name) == ".arrow" {
		writer, err = ipc.NewFileWriter(f, ipc.WithSchema(record.Schema()))
	} else {
		writer, err = pqarrow.NewFileWriter(record.Schema(), f, nil, pqarrow.DefaultWriterProps())
	}
	if err == nil {
		err = errors.Join(writer.Write(record), writer.Close())
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return s.path(name)
}

// directly computes for each row, out of the draws as a CSV holds them, the mean over
// draws of the probability of "yes", by the names of the coefficients alone and with
// nothing of the program.
func directly(t *testing.T, samples string, rows [][]string, bounds map[string][2]float64) (all [][]float64) {
	t.Helper()
	f, err := os.Open(samples)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	draws, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	header := rows[0]
	for _, row := range rows[1:] {
		var p []float64
		for _, draw := range draws[1:] {
			u := 0.0
			for j, name := range draws[0][3:] {
				theta, err := strconv.ParseFloat(draw[3+j], 64)
				if err != nil {
					t.Fatal(err)
				}
				column, level, isLevel := strings.Cut(name, "=")
				at := slices.Index(header, column)
				switch {
				case name == "intercept":
					u += theta
				case isLevel && row[at] == level:
					u += theta
				case !isLevel:
					x, err := strconv.ParseFloat(row[at], 64)
					if err != nil {
						t.Fatal(err)
					}
					b := bounds[column]
					u += theta * (2*(x-b[0])/(b[1]-b[0]) - 1)
				}
			}
			p = append(p, 1/(1+math.Exp(-u)))
		}
		all = append(all, p)
	}
	return all
}

// TestPredictHealthInsurance compares predictions for rows that were held out, in each
// format, and their scores, with a computation that shares nothing with the program.
func TestPredictHealthInsurance(t *testing.T) {
	s := newShop(t)
	table := healthTable(t)
	const held = 400
	cut := len(table) - held
	r := s.job("out")
	r.PolicyPath, r.Epsilon = filepath.Join("..", "..", "policies", "examples", "healthinsurance.yaml"), "1000"
	r.DataPath = s.writeCSV("train.csv", table[:cut])
	r.Sampler.Draws = 40
	if _, err := r.Do(t.Context()); err != nil {
		t.Fatal(err)
	}
	out := append([][]string{table[0]}, table[cut:]...)
	direct := directly(t, s.path("out/samples.csv"), out, map[string][2]float64{"age": {18, 62}, "family": {1, 14}})
	target := slices.Index(table[0], "insurance")
	logs, right := 0.0, 0
	for i, p := range direct {
		mean := 0.0
		for _, v := range p {
			mean += v / float64(len(p))
		}
		yes := out[1+i][target] == "yes"
		if yes {
			logs += math.Log(mean)
		} else {
			logs += math.Log(1 - mean)
		}
		if yes == (mean >= 0.5) {
			right++
		}
	}
	p := &Predict{DrawsDir: s.path("out"), PolicyPath: r.PolicyPath, PublicRows: true, OpenLedger: s.open}
	given := map[string]string{"csv": s.writeCSV("held.csv", out), "parquet": s.writeTyped("held.parquet", out), "arrow": s.writeTyped("held.arrow", out)}
	for _, format := range []string{"csv", "parquet", "arrow"} {
		p.DataPath, p.To = given[format], s.path("predictions."+format)
		done, err := p.Do(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if done.Rows != held || done.Scores.Rows != held || done.Draws != 40 || len(done.Warnings) > 0 {
			t.Errorf("%s: %+v", format, done)
		}
		close := func(what string, got, want float64) {
			if !(math.Abs(got-want) <= 1e-12*math.Max(1, math.Abs(want))) {
				t.Errorf("%s: %s is %v, want %v", format, what, got, want)
			}
		}
		close("mean log score", *done.Scores.LogScore, logs/held)
		close("accuracy", *done.Scores.Accuracy, float64(right)/held)
		if info, err := os.Stat(p.To); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v", format, info.Mode(), err)
		}
		names, columns := readPredictions(t, p.To, format)
		if !slices.Equal(names, []string{".row", "mean", "q5", "q95"}) {
			t.Fatalf("%s: columns %v", format, names)
		}
		for i, all := range direct {
			slices.Sort(all)
			mean := 0.0
			for _, v := range all {
				mean += v / float64(len(all))
			}
			quantile := func(p float64) float64 {
				at := p * float64(len(all)-1)
				low := int(at)
				return all[low] + (at-float64(low))*(all[low+1]-all[low])
			}
			close(".row", columns[0][i], float64(i+1))
			close("mean", columns[1][i], mean)
			close("q5", columns[2][i], quantile(0.05))
			close("q95", columns[3][i], quantile(0.95))
		}
	}
}

// readPredictions reads a file of predictions with the libraries alone.
func readPredictions(t *testing.T, path, format string) (names []string, columns [][]float64) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	add := func(r arrow.Record) {
		columns = slices.Grow(columns, int(r.NumCols()))[:r.NumCols()]
		for i, c := range r.Columns() {
			switch c := c.(type) {
			case *array.Int64:
				for _, v := range c.Int64Values() {
					columns[i] = append(columns[i], float64(v))
				}
			case *array.Float64:
				columns[i] = append(columns[i], c.Float64Values()...)
			}
		}
	}
	schema := func(s *arrow.Schema) {
		for _, field := range s.Fields() {
			names = append(names, field.Name)
		}
	}
	switch format {
	case "parquet":
		table, err := pqarrow.ReadTable(t.Context(), f, nil, pqarrow.ArrowReadProperties{}, memory.DefaultAllocator)
		if err != nil {
			t.Fatal(err)
		}
		schema(table.Schema())
		for reader := array.NewTableReader(table, 0); reader.Next(); {
			add(reader.Record())
		}
	case "arrow":
		reader, err := ipc.NewFileReader(f)
		if err != nil {
			t.Fatal(err)
		}
		schema(reader.Schema())
		for i := range reader.NumRecords() {
			r, err := reader.Record(i)
			if err != nil {
				t.Fatal(err)
			}
			add(r)
		}
	default:
		rows, err := csv.NewReader(f).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		names, columns = rows[0], make([][]float64, len(rows[0]))
		for _, row := range rows[1:] {
			for i, cell := range row {
				v, err := strconv.ParseFloat(cell, 64)
				if err != nil {
					t.Fatal(err)
				}
				columns[i] = append(columns[i], v)
			}
		}
	}
	return names, columns
}

// TestPredictRefusesRegisteredRows has rows of a registered data set in many guises:
// all are refused, and others are not.
func TestPredictRefusesRegisteredRows(t *testing.T) {
	s := newShop(t)
	table := healthTable(t)
	// A column in which nobody is like another: of tables whose rows repeat, only the
	// whole is recognised.
	text := strings.Replace(string(mustRead(t, filepath.Join("..", "..", "policies", "examples", "healthinsurance.yaml"))), "{name: health, type", "{name: income, type: number, bounds: [0, 100000]}\n    - {name: health, type", 1)
	policy := s.write("health.yaml", text)
	table[0] = append(table[0], "income")
	for i := range table[1:] {
		table[1+i] = append(table[1+i], strconv.FormatFloat(float64(i)*7.25, 'g', -1, 64))
	}
	const registered = 4000
	rows := func(from, to int, columns ...string) [][]string {
		out := [][]string{columns}
		for _, row := range table[1+from : 1+to] {
			var cells []string
			for _, c := range columns {
				cell := "17"
				if at := slices.Index(table[0], c); at >= 0 {
					cell = row[at]
				}
				cells = append(cells, cell)
			}
			out = append(out, cells)
		}
		return out
	}
	all := table[0]
	features := slices.DeleteFunc(slices.Clone(all), func(c string) bool { return c == "insurance" })
	train := s.writeCSV("train.csv", rows(0, registered, all...))
	if _, err := (&Register{PolicyPath: policy, DataPath: train, OpenLedger: s.open}).Do(t.Context()); err != nil {
		t.Fatal(err)
	}
	r := s.job("out")
	r.PolicyPath, r.Epsilon, r.DataPath = policy, "1000", train
	if _, err := r.Do(t.Context()); err != nil {
		t.Fatal(err)
	}
	// Another data set of this ledger, with the same columns and one more.
	other := strings.NewReplacer("testing-only", "other", "{name: health, type", "{name: wave, type: number, bounds: [0, 20]}\n    - {name: health, type").Replace(text)
	otherPolicy := s.write("other.yaml", other)
	wave := append([]string{"wave"}, all...)
	if _, err := (&Register{PolicyPath: otherPolicy, DataPath: s.writeCSV("other.csv", rows(5000, 8000, wave...)), OpenLedger: s.open}).Do(t.Context()); err != nil {
		t.Fatal(err)
	}
	backwards := slices.Clone(features)
	slices.Reverse(backwards)
	for name, c := range map[string]struct {
		rows    [][]string
		refused bool
	}{
		"themselves":                      {rows(0, registered, all...), true},
		"without the target":              {rows(0, registered, features...), true},
		"in other columns' order":         {rows(0, registered, backwards...), true},
		"one row more":                    {rows(0, registered+1, features...), true},
		"half of them":                    {rows(0, registered/2, features...), true},
		"some of them among as many more": {rows(0, 2*registered, features...), true},
		"a column short":                  {rows(8000, 8800, features[1:]...), true},
		"other rows":                      {rows(8000, 8800, features...), false},
		"other rows with their target":    {rows(8000, 8800, all...), false},
		"no rows":                         {rows(8000, 8000, features...), false},
		"another data set's":              {rows(5000, 8000, wave...), true},
		"another data set's, no target":   {rows(5000, 8000, append([]string{"wave"}, features...)...), true},
	} {
		p := &Predict{DrawsDir: s.path("out"), PolicyPath: policy, DataPath: s.writeCSV("new.csv", c.rows), To: s.path(strings.ReplaceAll(name, " ", "-") + ".csv"), OpenLedger: s.open}
		done, err := p.Do(t.Context())
		var wrong *WrongRows
		if c.refused != errors.As(err, &wrong) || !c.refused && err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, gone := os.Stat(p.To); c.refused != errors.Is(gone, fs.ErrNotExist) {
			t.Errorf("%s: the file: %v", name, gone)
		}
		if err == nil && (done.Compared == "" || done.Scores != nil || len(done.Warnings) > 0) {
			t.Errorf("%s: %+v", name, done)
		}
		if wrong != nil && strings.Contains(wrong.Message, "other") {
			t.Errorf("%s: the refusal names another data set: %s", name, wrong.Message)
		}
	}
	for _, entry := range files(t, s.dir) {
		if strings.Contains(entry, ".privsgld-") {
			t.Errorf("%s was left behind", entry)
		}
	}
}

func mustRead(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

const numbersPolicy = `apiVersion: privsgld/v1
kind: Policy
metadata: {name: pay, owner: test@example.org}
dataset:
  name: pay
  privacyUnit: row
  adjacency: add-remove
  rows: 6
  target: {column: pay}
  columns:
    - {name: age, type: number, bounds: [0, 100]}
    - {name: pay, type: number, bounds: [-5, 15]}
    - {name: visits, type: integer, bounds: [0, 30]}
budget: {epsilon: 5, delta: 1e-6}
`

// TestPredictNumbers predicts from linear and Poisson regression, from the run to the
// file, and compares with sums over the draws as they were released.
func TestPredictNumbers(t *testing.T) {
	s := newShop(t)
	policy := s.write("numbers.yaml", numbersPolicy)
	data := s.write("numbers.csv", "age,pay,visits\n20,1,3\n30,2,4\n40,2.5,9\n50,4,2\n60,20,1\n70,3,\n")
	given := s.write("new.csv", "visits,age,pay\n3,25,1.5\n,55,\n1.5,105,-7\n")
	for _, model := range []string{"linear", "poisson"} {
		r := s.job(model)
		r.PolicyPath, r.DataPath, r.Epsilon, r.Model, r.Features = policy, data, "1", model, []string{"age"}
		target, wantScored := "pay", int64(2)
		if model == "poisson" {
			r.Target, target, wantScored = "visits", "visits", 1
		} else {
			sd := 0.5
			r.Sampler.NoiseSD = &sd
		}
		if _, err := r.Do(t.Context()); err != nil {
			t.Fatal(err)
		}
		p := &Predict{DrawsDir: s.path(model), PolicyPath: policy, DataPath: given, To: s.path(model + ".csv"), PublicRows: true, OpenLedger: s.open}
		done, err := p.Do(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if done.Target != target || done.Scores.Rows != wantScored || done.Scores.Unscored != 3-wantScored || done.Scores.RMSE == nil || done.Scores.Coverage == nil {
			t.Errorf("%s: %+v, %+v", model, done, done.Scores)
		}
		names, columns := readPredictions(t, p.To, "csv")
		if !slices.Equal(names, []string{".row", "mean", "q5", "q95", "predictive_q5", "predictive_q95"}) {
			t.Errorf("%s: columns %v", model, names)
		}
		samples, err := os.Open(s.path(model + "/samples.csv"))
		if err != nil {
			t.Fatal(err)
		}
		draws, err := csv.NewReader(samples).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		_ = samples.Close()
		for i, age := range []float64{25, 55, 100} { // clamped to the bounds
			mean := 0.0
			for _, draw := range draws[1:] {
				intercept, err := strconv.ParseFloat(draw[3], 64)
				if err != nil {
					t.Fatal(err)
				}
				slope, err := strconv.ParseFloat(draw[4], 64)
				if err != nil {
					t.Fatal(err)
				}
				u := intercept + slope*(age/50-1)
				if model == "linear" {
					mean += 5 + 10*u
				} else {
					mean += math.Min(math.Exp(u), 30)
				}
			}
			mean /= float64(len(draws) - 1)
			if got := columns[1][i]; !(math.Abs(got-mean) <= 1e-12*math.Abs(mean)) {
				t.Errorf("%s: row %d: mean %v, want %v", model, i, got, mean)
			}
			if !(columns[2][i] <= columns[3][i] && columns[4][i] <= columns[5][i]) {
				t.Errorf("%s: row %d: the points are not in order: %v %v, %v %v", model, i, columns[2][i], columns[3][i], columns[4][i], columns[5][i])
			}
		}
	}
}

type noRoom struct{}

func (noRoom) Write([]byte) (int, error) { return 0, errors.New("no room") }

// Rows that a first run on the holder's terminal registered are refused too.
func TestPredictRefusesFirstRunsRows(t *testing.T) {
	s := newShop(t)
	r := s.job("out")
	r.Register = true
	if _, err := r.Do(t.Context()); err != nil {
		t.Fatal(err)
	}
	blind := "age,member\n20,true\n30,false\n40,true\n50,false\n60,true\n70,true\n"
	p := &Predict{DrawsDir: s.path("out"), PolicyPath: r.PolicyPath, OpenLedger: s.open, To: s.path("never.csv")}
	for name, content := range map[string]string{"blind.csv": blind, "whole.csv": testTable} {
		p.DataPath = s.write(name, content)
		if _, err := p.Do(t.Context()); !errors.As(err, new(*WrongRows)) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	p.DataPath, p.To = s.write("new.csv", strings.Replace(blind, "70", "71", 1)), s.path("new-predictions.csv")
	if _, err := p.Do(t.Context()); err != nil {
		t.Errorf("other rows: %v", err)
	}
}

// A prediction that is cut short leaves nothing.
func TestPredictCancelled(t *testing.T) {
	s := newShop(t)
	if _, err := s.job("out").Do(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p := &Predict{DrawsDir: s.path("out"), PolicyPath: s.path("p.yaml"), DataPath: s.path("data.csv"), To: s.path("predictions.csv"), OpenLedger: s.open}
	if _, err := p.Do(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	full := errors.New("no room")
	err := writePredictions(p.To, "csv", nil, []string{".row", "mean"}, func(add func([][]float64) error) error {
		if err := add([][]float64{{0.5}}); err != nil {
			return err
		}
		return full
	})
	if !errors.Is(err, full) {
		t.Errorf("error %v", err)
	}
	for _, name := range files(t, s.dir) {
		if strings.Contains(name, "predictions") || strings.Contains(name, ".privsgld") {
			t.Errorf("%s was left behind", name)
		}
	}
	// A file that takes no more is an output that failed.
	if err := writePredictions("-", "csv", noRoom{}, []string{".row", "mean"}, func(add func([][]float64) error) error {
		return add([][]float64{{0.5}})
	}); !errors.As(err, new(*OutputError)) {
		t.Errorf("error %v", err)
	}
	// Whatever took the name meanwhile stays.
	err = writePredictions(p.To, "csv", nil, []string{".row", "mean"}, func(func([][]float64) error) error {
		return os.WriteFile(p.To, []byte("mine"), 0o600)
	})
	var output *OutputError
	if text := mustRead(t, p.To); !errors.As(err, &output) || string(text) != "mine" {
		t.Errorf("error %v, the file holds %q", err, text)
	}
}
