package main

import "testing"

// TestTimeIsUp: only the end of the time is forgiven, never a finding.
func TestTimeIsUp(t *testing.T) {
	for text, want := range map[string]bool{
		"fuzz: elapsed: 4s, execs: 20164 (0/sec)\n--- FAIL: FuzzPath (4.06s)\n    context deadline exceeded\nFAIL\nexit status 1\n":                                     true,
		"--- FAIL: FuzzPath (0.02s)\n    --- FAIL: FuzzPath (0.00s)\n        path_test.go:9: bad\n    \n    Failing input written to testdata/fuzz/FuzzPath/1\nFAIL\n":  false,
		"--- FAIL: FuzzPath (1.00s)\n    fuzzing process hung or terminated unexpectedly: exit status 2\n    Failing input written to testdata/fuzz/FuzzPath/1\nFAIL\n": false,
		"--- FAIL: FuzzPath (4.06s)\n    context deadline exceeded\n    Failing input written to testdata/fuzz/FuzzPath/1\nFAIL\n":                                      false,
		"# github.com/farboot/farboot/builder/site\nsite.go:1:1: expected package\nFAIL\n":                                                                              false,
	} {
		if got := timeIsUp.MatchString(text); got != want {
			t.Errorf("timeIsUp(%q) = %v", text, got)
		}
	}
}
