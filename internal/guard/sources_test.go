package guard_test

import (
	"errors"
	"fmt"
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"go/types"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// deferred are the guards that a function defers first, running those that
// call one.
var (
	deferred = []string{"engine.Server.caught", "engine.Server.caughtRequest", "hub.Hub.caught", "hub.call.recoverPanic", "auth.KeySet.caught"}
	running  = []string{"engine.Server.always", "engine.Server.insist", "engine.Server.survived", "hub.Hub.guard", "hub.Hub.insist", "auth.KeySet.always"}
)

// unguarded is what no server runs.
var unguarded = []string{
	"broker/brokertest", "broker/memory.go", // a bus for tests; what it delivers is the hub's, which guards it
	"bench", "conformance", "internal/dryrun", "internal/hubtest", "internal/siotest",
}

// TestEverythingIsGuarded finds goroutines and timer callbacks that do not
// begin with a guard: a panic there would end the process.
func TestEverythingIsGuarded(t *testing.T) {
	started := 0
	for _, p := range module(t) {
		for _, complaint := range p.check(&started) {
			t.Error(complaint)
		}
	}
	if started < 30 {
		t.Errorf("only %d starts were found", started)
	}
}

// TestFaultsFollowGuards finds guards that no test makes recover.
func TestFaultsFollowGuards(t *testing.T) {
	for _, p := range module(t) {
		defers, _, faults := p.places()
		for _, place := range defers {
			if !slices.Contains(faults, place) {
				t.Errorf("package %s: no guard.Fault(%q) follows the guard", p.files[0].Name.Name, place)
			}
		}
	}
}

// TestFindsWhatIsNotGuarded holds the check itself against what it is for.
func TestFindsWhatIsNotGuarded(t *testing.T) {
	const head = `package engine
		import "time"
		type Server struct{}
		func (s *Server) caught(place string) { recover() }
		func (s *Server) always(place string, f func()) {}
		func (s *Server) good() { defer s.caught("good"); s.bad() }
		func (s *Server) through() { s.good() }
		func (s *Server) late() { s.bad(); defer s.caught("late") }
		func (s *Server) bad() {}
		func start(s *Server, f func(), wg interface{ Go(func()) }) { `
	for _, test := range []struct {
		start string
		bad   bool
	}{
		{`go s.good()`, false},
		{`go s.through()`, false},
		{`go s.always("x", s.bad)`, false},
		{`go func() { defer s.caught("x"); s.bad() }()`, false},
		{`time.AfterFunc(1, s.good)`, false},
		{`time.AfterFunc(1, func() { s.always("x", s.bad) })`, false},
		{`go s.bad()`, true},
		{`go s.late()`, true},
		{`go f()`, true},
		{`go func() { s.bad() }()`, true},
		{`go func() {}()`, true},
		{`time.AfterFunc(1, s.bad)`, true},
		{`time.AfterFunc(1, f)`, true},
		{`wg.Go(s.bad)`, true},
	} {
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, "engine.go", head+test.start+"\n}", 0)
		if err != nil {
			t.Fatal(err)
		}
		started := 0
		got := newPkg(fset, []*ast.File{file}).check(&started)
		if started != 1 || (len(got) > 0) != test.bad {
			t.Errorf("%s: %d starts, %q", test.start, started, got)
		}
	}
}

// pkg is a package as one system sees it.
type pkg struct {
	fset  *token.FileSet
	files []*ast.File
	info  types.Info
	decls map[types.Object]*ast.FuncDecl
}

// module parses what servers run, for all systems that differ.
func module(t *testing.T) (all []*pkg) {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, system := range []string{"linux", "darwin", "windows"} {
		for dir, names := range sources(t, root, system) {
			fset := token.NewFileSet()
			var files []*ast.File
			for _, name := range names {
				f, err := parser.ParseFile(fset, filepath.Join(root, dir, name), nil, parser.SkipObjectResolution)
				if err != nil {
					t.Fatal(err)
				}
				files = append(files, f)
			}
			all = append(all, newPkg(fset, files))
		}
	}
	return all
}

// sources lists the files of each directory.
func sources(t *testing.T, root, system string) map[string][]string {
	t.Helper()
	target := build.Default
	target.GOOS = system
	found := map[string][]string{}
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(root, path) // it is below root
		if slices.Contains(unguarded, filepath.ToSlash(name)) {
			return skip(e)
		}
		if e.IsDir() {
			_, err := os.Stat(filepath.Join(path, "go.mod"))
			if path != root && (err == nil || strings.HasPrefix(e.Name(), ".") || e.Name() == "testdata" || e.Name() == "node_modules") {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		dir, file := filepath.Split(name)
		match, err := target.MatchFile(filepath.Join(root, dir), file)
		if match {
			found[dir] = append(found[dir], file)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func skip(e fs.DirEntry) error {
	if e.IsDir() {
		return fs.SkipDir
	}
	return nil
}

type noImports struct{}

func (noImports) Import(string) (*types.Package, error) { return nil, errors.New("not needed") }

// newPkg finds out what the names in files mean, as far as they are the
// package's own: others are neither goroutines nor guards of ours.
func newPkg(fset *token.FileSet, files []*ast.File) *pkg {
	p := &pkg{fset: fset, files: files, decls: map[types.Object]*ast.FuncDecl{}}
	p.info = types.Info{Uses: map[*ast.Ident]types.Object{}, Defs: map[*ast.Ident]types.Object{}}
	c := types.Config{Importer: noImports{}, Error: func(error) {}}
	_, _ = c.Check(files[0].Name.Name, fset, files, &p.info) // imports are missing
	for _, f := range files {
		for _, d := range f.Decls {
			if d, ok := d.(*ast.FuncDecl); ok {
				p.decls[p.info.Defs[d.Name]] = d
			}
		}
	}
	return p
}

// check says which goroutines and callbacks do not begin with a guard.
func (p *pkg) check(started *int) (complaints []string) {
	start := func(f ast.Expr) {
		*started++
		if !p.guarded(f) {
			complaints = append(complaints, fmt.Sprintf("%s: this does not begin with a guard", p.fset.Position(f.Pos())))
		}
	}
	p.each(func(n ast.Node) {
		switch n := n.(type) {
		case *ast.GoStmt:
			start(n.Call.Fun)
		case *ast.CallExpr:
			sel, ok := n.Fun.(*ast.SelectorExpr)
			switch {
			case ok && sel.Sel.Name == "AfterFunc" && len(n.Args) == 2: // time, context
				start(n.Args[1])
			case ok && sel.Sel.Name == "Go" && len(n.Args) == 1: // sync.WaitGroup, errgroup
				start(n.Args[0])
			}
		}
	})
	return complaints
}

func (p *pkg) each(f func(ast.Node)) {
	for _, file := range p.files {
		ast.Inspect(file, func(n ast.Node) bool {
			f(n)
			return true
		})
	}
}

// guarded reports whether a function is or begins with a guard.
func (p *pkg) guarded(f ast.Expr) bool {
	if lit, ok := f.(*ast.FuncLit); ok {
		return p.beginsGuarded(lit.Body)
	}
	if slices.Contains(running, p.name(f)) {
		return true
	}
	decl := p.decls[p.object(f)]
	return decl != nil && p.beginsGuarded(decl.Body)
}

func (p *pkg) beginsGuarded(body *ast.BlockStmt) bool {
	if len(body.List) == 0 {
		return false
	}
	switch first := body.List[0].(type) {
	case *ast.DeferStmt:
		return slices.Contains(deferred, p.name(first.Call.Fun))
	case *ast.ExprStmt:
		call, ok := first.X.(*ast.CallExpr)
		return ok && p.guarded(call.Fun)
	}
	return false
}

// object is the function that f names, nil if that is not one of the package.
func (p *pkg) object(f ast.Expr) types.Object {
	switch f := f.(type) {
	case *ast.Ident:
		return p.info.Uses[f]
	case *ast.SelectorExpr:
		return p.info.Uses[f.Sel]
	}
	return nil
}

// name is that function's as package.Type.method, "" if it is no method.
func (p *pkg) name(f ast.Expr) string {
	fn, ok := p.object(f).(*types.Func)
	if !ok || fn.Signature().Recv() == nil {
		return ""
	}
	t := fn.Signature().Recv().Type()
	if ptr, ok := t.(*types.Pointer); ok {
		t = ptr.Elem()
	}
	named, ok := t.(*types.Named)
	if !ok {
		return ""
	}
	return fn.Pkg().Name() + "." + named.Obj().Name() + "." + fn.Name()
}

// places lists where guards are deferred and where they run what they guard,
// and where a fault may be.
func (p *pkg) places() (defers, runs, faults []string) {
	p.each(func(n ast.Node) {
		call, ok := n.(*ast.CallExpr)
		if !ok || len(call.Args) == 0 {
			return
		}
		lit, ok := call.Args[0].(*ast.BasicLit)
		if !ok || lit.Kind != token.STRING {
			return
		}
		place, _ := strconv.Unquote(lit.Value) // a literal that was parsed
		name := p.name(call.Fun)
		sel, _ := call.Fun.(*ast.SelectorExpr)
		switch {
		case slices.Contains(deferred, name):
			defers = append(defers, place)
		case slices.Contains(running, name):
			runs = append(runs, place)
		case sel != nil && sel.Sel.Name == "Fault":
			faults = append(faults, place)
		}
	})
	return defers, runs, faults
}
