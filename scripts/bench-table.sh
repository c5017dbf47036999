# shellcheck shell=bash disable=SC2154,SC2016
# Keeps what bench.sh measures, and prints it in Markdown. Sourced.

# note ROW SIDE SECONDS [MIB]
note() {
	echo "$3" >>"times/$1.$2"
	[ -z "${4-}" ] || echo "$4" >>"times/$1.mib"
}
grouped() { sed -E ':again; s/([0-9])([0-9]{3})($|,)/\1,\2\3/; t again' <<<"$1"; } # grouped NUMBER

# of_size MIB: "1 GiB", "64 MiB"
of_size() { if (($1 % 1024)); then echo "$1 MiB"; else echo "$(($1 / 1024)) GiB"; fi; }

# row NAME ATLEAST TEXT: medians, and the most memory of all runs.
row() {
	awk -v least="$2" -v text="$3" '
		function three(x) { return sprintf(x >= 100 ? "%.0f" : x >= 10 ? "%.1f" : x >= 1 ? "%.2f" : "%.3f", x) }
		function median(v, n, i, j, t) {
			for (i = 2; i <= n; i++) for (j = i; j > 1 && v[j - 1] > v[j]; j--) { t = v[j]; v[j] = v[j - 1]; v[j - 1] = t }
			return n % 2 ? v[(n + 1) / 2] : (v[n / 2] + v[n / 2 + 1]) / 2
		}
		FILENAME ~ /hand$/ { hand[++h] = $1 + 0 }
		FILENAME ~ /firn$/ { firn[++f] = $1 + 0 }
		FILENAME ~ /mib$/ && $1 + 0 > mib { mib = $1 + 0 }
		END {
			a = median(hand, h); b = median(firn, f)
			missed = a / b < least ? " (missed)" : ""
			printf "| %s | %s s | %s s | **%s ×**%s | %s × | %d MiB |\n", text, three(a), three(b), three(a / b), missed, least, mib
		}' "times/$1.hand" "times/$1.firn" "times/$1.mib"
}

print_ratios() {
	local n mib open='`gpg --decrypt \| lz4 -d` to nowhere'
	n=$(grouped "$small") mib=$(of_size "$large")
	echo '| | against | firn | ratio | at least | memory of firn |'
	echo '|---|---|---|---|---|---|'
	row seal-small 100 "seal $n files of 10 kB: \`shasum\`, \`lz4 \| gpg\`, \`shasum\`, \`tar --append\` for each file, against \`firn upload\`"
	row seal-large 3 "seal one file of $mib that cannot be compressed: the same"
	row open-small-firn 100 "open $n small files that firn sealed: $open for each file, against \`firn restore\`, which writes and verifies them"
	row open-small-gpg 4 "… that gpg sealed, in an archive of the original's: the same"
	row open-large-firn 1.5 "open one file of $mib that firn sealed: $open, against \`cat\` in the mount"
	row open-large-gpg 1.5 "… that gpg sealed: the same"
	row copy 0.8 "copy one file of $mib out of the archive: \`firn restore\`, against \`cp\` from the mount"
}

print_reading() {
	local sealer
	echo "| 64 KiB anywhere in a file of $(of_size "$random"), in the mount | cold: p50, at most 10 ms | p99 | longest | warm: p50 | p99 | longest | memory | eight readers | memory |"
	echo '|---|---|---|---|---|---|---|---|---|---|'
	for sealer in firn gpg; do
		awk -v sealer="$sealer" '
			function ms(x) { return sprintf(x >= 100 ? "%.0f ms" : x >= 1 ? "%.1f ms" : "%.2f ms", x) }
			{ only = $1 < 1000 ? ", only " $1 " reads in two minutes" : "" }
			{ missed = $2 >= 10 ? " (missed)" : "" }
			{ printf "| sealed by %s%s | **%s**%s | %s | %s | %s | %s | %s | %d MiB | %s MB/s | %d MiB |\n", sealer, only,
				ms($2), missed, ms($3), ms($4), ms($5), ms($6), ms($7), $8, $9, $10 }' "times/random-$sealer"
	done
}

print_machine() {
	local cpu
	cpu=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | sed 1q)
	echo "Medians of $runs runs, by hand and firn in turn, on $(nproc) cores of ${cpu:-$(uname -m)}, $(awk '/^MemTotal/ { printf "%.0f GiB", $2 / 1048576 }' /proc/meminfo)," \
		"Linux $(uname -r), $(gpg --version | sed 1q), lz4 $(lz4 --version | sed -E 's/.*v([0-9.]+).*/\1/; q'). An RSA key of 4,096 bits, random bytes."
	echo
}

print_notes() {
	cat <<-END
		- \`firn upload\` writes into a folder store, and to the disk (fsync); by hand, nothing waits for the disk. Each run uploads everything, and restores and mounts with no catalog.
		- By hand, a run seals and opens a quarter of the small files, the next run the next quarter; the seconds are scaled to all of them. \`tar --append\` gets slower with what is in the file, which that leaves out.
		- The mount is new for each run, so that neither firn nor the kernel has any of the files' content; the sealed files are in the kernel's cache, for both sides.
		- Memory is the process's peak: the largest of the runs.
		- Cold: 1,000 reads of 64 KiB at random offsets, one after the other, on a new mount, with the sealed file out of the kernel's cache$([ -n "$dropped" ] && echo ' and the caches dropped' || echo ' (not root: other caches are not dropped)'); at most 10 ms at the median. Where gpg sealed, the first read has to find the blocks. Warm: the same offsets again.
		- Eight readers: each reads $(of_size "$(((random < 8192 ? random : 8192) / 8))") of its own in order, all at once; the sealed file is in the kernel's cache where memory is large enough.
		- The plot: one run for each size, of up to 1,000 files and $(of_size "$large") in all; by hand of up to 50 files and 256 MiB. By hand is what it is above; the mount is read with \`cat\`.
	END
}
