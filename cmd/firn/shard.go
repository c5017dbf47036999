package main

import (
	"github.com/urfave/cli/v2"

	"github.com/chipster/firn/internal/shard"
)

// shardFlag is of the commands that several machines can share.
func shardFlag(does string) cli.Flag {
	return &cli.StringFlag{Name: "shard", Usage: does + " the part `I/N` of the files only, such as 2/4 for the second of four; other machines do the others"}
}

func shardOf(c *cli.Context) (shard.Shard, error) {
	s, err := shard.Parse(c.String("shard"))
	if err != nil {
		err = usagef("--shard: %w", err)
	}
	return s, err
}
