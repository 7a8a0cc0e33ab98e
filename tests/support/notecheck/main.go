// Command notecheck verifies signed checkpoints and tree proofs with the Go project's own packages.
// It reads one JSON request from standard input and exits 0 when everything in it holds.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type hash = []byte

type request struct {
	Key       string
	Note      string
	Size      int64
	Root      hash
	Inclusion []struct {
		Index int64
		Leaf  hash
		Path  []hash
	}
	Consistency []struct {
		Size int64
		Root hash
		Path []hash
	}
}

func proof(path []hash) []tlog.Hash {
	var out []tlog.Hash
	for _, one := range path {
		out = append(out, tlog.Hash(one))
	}
	return out
}

func check() error {
	var in request
	if err := json.NewDecoder(os.Stdin).Decode(&in); err != nil {
		return err
	}
	verifier, err := note.NewVerifier(in.Key)
	if err != nil {
		return err
	}
	if _, err := note.Open([]byte(in.Note), note.VerifierList(verifier)); err != nil {
		return err
	}
	root := tlog.Hash(in.Root)
	for _, one := range in.Inclusion {
		if err := tlog.CheckRecord(proof(one.Path), in.Size, root, one.Index, tlog.Hash(one.Leaf)); err != nil {
			return fmt.Errorf("leaf %d: %w", one.Index, err)
		}
	}
	for _, one := range in.Consistency {
		if err := tlog.CheckTree(proof(one.Path), in.Size, root, one.Size, tlog.Hash(one.Root)); err != nil {
			return fmt.Errorf("size %d: %w", one.Size, err)
		}
	}
	return nil
}

func main() {
	if err := check(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
