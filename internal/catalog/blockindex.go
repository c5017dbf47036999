package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/chipster/firn/internal/manifest"
)

// Bounds of what is kept of block indexes: 16 MiB are a million blocks.
const (
	maxBlockIndex   = 16 << 20
	maxBlockIndexes = 10_000
)

// BlockIndex returns what KeepBlockIndex kept for a sealed file, or nil.
func (c *Catalog) BlockIndex(ctx context.Context, sealed manifest.Hash) (index []byte, err error) {
	err = c.use(ctx, func(db *database) error {
		err := db.read.QueryRowContext(ctx, `SELECT content FROM block_indexes WHERE sealed_sha512 = ?`, sealed[:]).Scan(&index)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("index of blocks: %w", err)
	}
	return index, nil
}

// KeepBlockIndex keeps what was found out about where the blocks of a sealed
// file are, which is the same in every version. Of ten thousand, the oldest
// goes; one that is too large is not kept. It waits while this process adds a
// version to the catalog, and fails while another one does.
func (c *Catalog) KeepBlockIndex(ctx context.Context, sealed manifest.Hash, index []byte) error {
	if len(index) > maxBlockIndex {
		return nil
	}
	err := c.use(ctx, func(db *database) error {
		tx, err := db.write.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer rollback(tx)
		if _, err := tx.ExecContext(ctx, `INSERT OR REPLACE INTO block_indexes (sealed_sha512, content) VALUES (?, ?)`, sealed[:], index); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM block_indexes WHERE age <= (SELECT max(age) FROM block_indexes) - ?`, maxBlockIndexes); err != nil {
			return err
		}
		return tx.Commit()
	})
	if err != nil {
		return fmt.Errorf("index of blocks: %w", err)
	}
	return nil
}
