//go:build slow

package datasets

import "testing"

func TestForeignFilesAll(t *testing.T) { foreignFiles(t, 1) }

func TestMutatedFilesMany(t *testing.T) { mutatedFiles(t, 2500) }
