# shellcheck shell=bash disable=SC2154,SC2016
# Prints what bench-scale.sh measured, in Markdown. Sourced.

# summarize FILE: of each row the median of the seconds, and the most memory.
summarize() {
	sort -t '	' -k 1,1V -k 2,2 -k 3,3g "$results/$1" | awk -F '\t' -v OFS='\t' '
		function done() { if (n) print subject, what, n % 2 ? s[(n + 1) / 2] : (s[n / 2] + s[n / 2 + 1]) / 2, kib }
		$1 != subject || $2 != what { done(); subject = $1; what = $2; n = kib = 0 }
		{ s[++n] = $3; if ($4 > kib) kib = $4 }
		END { done() }'
}

# In the order of the table.
whats='backup night archive carry verify restore catalog mount find ls rsync'
text_of() {
	case $1 in
	backup) echo 'first backup, all new' ;;
	night) echo 'backup of a night without changes: scan and plan' ;;
	archive) echo 'archive the first backup, all new' ;;
	carry) echo 'archive the night without changes, all carried forward' ;;
	verify) echo '`firn verify` of all' ;;
	restore) echo "restore $(grouped "$restored") of the files" ;;
	catalog) echo "catalog of $versions versions from nothing" ;;
	mount) echo "mount, until it is ready, $versions versions" ;;
	find) echo '… `find` in one version' ;;
	ls) echo '… `ls -l` of one folder of 256' ;;
	rsync) echo '… `rsync -a --dry-run` of one version' ;;
	esac
}

numbers='
	function three(x) { return sprintf(x >= 100 ? "%.0f" : x >= 10 ? "%.1f" : x >= 1 ? "%.2f" : "%.3f", x) }
	function mib(kib) { return sprintf("%.0f MiB", kib / 1024) }'

# by_size SUMMARY: a row for each step, a column for each number of files, and how
# much more the last one takes than the one before.
by_size() {
	local sizes what n
	mapfile -t sizes < <(cut -f 1 "$1" | sort -nu)
	printf '| files |'
	for n in "${sizes[@]}"; do printf ' %s |' "$(grouped "$n")"; done
	[ "${#sizes[@]}" -lt 2 ] || printf ' the last against the one before |'
	printf '\n|---|'
	for n in "${sizes[@]}"; do printf -- '---|'; done
	[ "${#sizes[@]}" -lt 2 ] || printf -- '---|'
	echo
	for what in $whats; do
		awk -F '\t' -v what="$what" -v text="$(text_of "$what")" -v sizes="${sizes[*]}" "$numbers"'
			$2 == what { seconds[$1] = $3; kib[$1] = $4 }
			END {
				count = split(sizes, n, " ")
				printf "| %s |", text
				for (i = 1; i <= count; i++) {
					if (n[i] in seconds) printf " %s s, %s |", three(seconds[n[i]]), mib(kib[n[i]])
					else printf " |"
				}
				a = n[count - 1]; b = n[count]
				if (count > 1) printf a in seconds && b in seconds ? " time %.1f ×, memory %.1f × |" : " |", seconds[b] / (seconds[a] ? seconds[a] : 1), kib[b] / (kib[a] ? kib[a] : 1)
				print ""
			}' "$1"
	done
}

print_scale() {
	echo
	print_here
	[ ! -s "$results/times.tsv" ] || { by_size "$results/summary.tsv"; echo; print_files_notes; echo; }
	[ ! -s "$results/lines.tsv" ] || { print_lines; echo; }
	[ ! -s "$results/tools.tsv" ] || { print_tools; echo; print_tools_notes; echo; }
}

print_here() {
	local cpu
	cpu=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | sed 1q)
	echo "On $(nproc) cores of ${cpu:-$(uname -m)}, $(awk '/^MemTotal/ { printf "%.0f GiB", $2 / 1048576 }' /proc/meminfo), Linux $(uname -r), local disk; an RSA key of 4,096 bits. Medians of three runs, of a million files one run; memory is the process's peak, the largest of the runs."
	echo
}

print_files_notes() {
	cat <<-END
		- Files of 24 random bytes, a folder store. There is no dry run of an upload: a night without changes scans, plans, and writes the list.
		- Verify and restore have a catalog; verify has no key. What is restored are $(grouped "$restored") files of the version, by a pattern. They come from nearly all packages, and each sixteen of these cost a private-key operation: there are 256 packages of 10,000 and of 100,000 files, 4,096 of a million.
		- The $versions versions are lists alone, in each of which 1 % of the files were replaced. They would take $versions times 0.5 GB for a million files, so they are made as they are read ($(list_speed)). \`find\`, \`ls\` and \`rsync\` each have a new mount, with the catalog that is there; the memory is the mount's.
	END
}
list_speed() { awk -F '\t' '$2 == "list" && $1 >= n { n = $1; rate = $4 / 976.5625 / $3 } END { printf "%.0f MB/s", rate }' "$results/summary.tsv"; }

print_lines() {
	awk -F '\t' "$numbers"'
		{ seconds[$1] = $2; rate[$1] = $3 }
		END { printf "A list of a million lines alone (`go test ./internal/manifest -bench MillionLines`): read in %s s (%.0f MB/s), written in %s s (%.0f MB/s).\n", three(seconds["read"]), rate["read"], three(seconds["write"]), rate["write"] }' "$results/lines.tsv"
}

print_tools() {
	echo "$(grouped "$tool_files") files of $(grouped "$tool_bytes") random bytes, to the same disk and back; medians of $tool_runs runs, one tool after the other:"
	echo
	echo '| | back up | restore | memory: back up | restore |'
	echo '|---|---|---|---|---|'
	summarize tools.tsv | awk -F '\t' "$numbers"'
		{ seconds[$1, $2] = three($3) " s"; kib[$1, $2] = mib($4) }
		END {
			split("firn restic borg", tools, " ")
			for (i = 1; i <= 3; i++) {
				t = tools[i]
				archive = (t, "archive") in seconds ? ", and " seconds[t, "archive"] " to archive it" : ""
				printf "| %s | %s%s | %s | %s | %s |\n", t, seconds[t, "backup"], archive, seconds[t, "restore"], kib[t, "backup"], kib[t, "restore"]
			}
		}'
}

print_tools_notes() {
	cat <<-END
		- firn: \`upload files\` into a folder store, lz4, sealed for an RSA key, packages written to the disk (fsync); \`archive\` takes them apart and has the disk write all (syncfs); \`restore\` from there, with no catalog, and each file is compared with its SHA-512.
		- $(restic version | cut -d ' ' -f 1,2): \`backup\` and \`restore\`, a repository on the local disk with its defaults: AES-256, zstd, packs written to the disk (fsync).
		- $(borg --version): \`create\` and \`extract\`, \`--encryption repokey\` (AES-256, HMAC-SHA256), lz4, segments written to the disk (fsync).
		- Random bytes: neither compression nor deduplication helps anyone. None of the three waits for the disk to have what is restored. restic and borg make a key of a passphrase at each call, which takes part of a second. The page cache is as it comes.
	END
}
