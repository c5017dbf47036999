# shellcheck shell=bash disable=SC2154,SC2034
# What bench.sh's tables are made of, row by row. Sourced after bench-steps.sh.

# quarter_of RUN: sets part and names. By hand, a run takes a quarter of the
# small files, and the next run the next quarter.
quarter_of() {
	part=$((($1 - 1) % 4))
	local from=$((small * part / 4)) to=$((small * (part + 1) / 4))
	mapfile -t names < <(list small | sed -n "$((from + 1)),${to}p")
}
note_quarter() { note "$1" hand "$(awk "BEGIN { print $seconds * $small / ${#names[@]} }")"; } # note_quarter ROW

seal_small() {
	local run
	for ((run = 1; run <= runs; run++)); do
		say "sealing the small files, run $run of $runs"
		quarter_of "$run"
		prepare_hand small "$part"
		by_hand seal_by_hand small "$part" "${names[@]}"
		note_quarter seal-small
		prepare_upload
		upload small
		note seal-small firn "$seconds" "$peak"
	done
	archive small
	say "sealing by hand what no run has sealed"
	for ((; run <= 4; run++)); do
		quarter_of "$run"
		prepare_hand small "$part"
		seal_by_hand small "$part" "${names[@]}"
	done
	archive_by_hand small
}

seal_large() {
	local run file
	file=$(list large)
	for ((run = 1; run <= runs; run++)); do
		say "sealing the large file, run $run of $runs"
		prepare_hand large 0
		by_hand seal_by_hand large 0 "$file"
		note seal-large hand "$seconds"
		prepare_upload
		upload large
		note seal-large firn "$seconds" "$peak"
	done
	archive large
	archive_by_hand large
}

open_small() {
	local run sealer folder
	for ((run = 1; run <= runs; run++)); do
		quarter_of "$run"
		for sealer in firn gpg; do
			say "opening the small files that $sealer sealed, run $run of $runs"
			folder=$(echo "$sealer"/small/small_*)
			by_hand open_by_hand "$folder" "${names[@]}"
			note_quarter "open-small-$sealer"
			restore "$sealer/small"
			note "open-small-$sealer" firn "$seconds" "$peak"
			check_restored small
		done
	done
}

open_large() {
	local run sealer folder file
	file=$(list large)
	for ((run = 1; run <= runs; run++)); do
		for sealer in firn gpg; do
			say "opening the large file that $sealer sealed, run $run of $runs"
			folder=$(echo "$sealer"/large/large_*)
			by_hand open_by_hand "$folder" "$file"
			note "open-large-$sealer" hand "$seconds"
			from_mount "$sealer/large" cat_all
			note "open-large-$sealer" firn "$seconds" "$peak"
		done
		say "copying the large file, run $run of $runs"
		restore firn/large
		note copy hand "$seconds"
		check_restored large
		from_mount firn/large copy_all
		note copy firn "$seconds" "$peak"
		check_restored large
	done
}

# Reading anywhere in one very large file. Each file is made and sealed as late,
# and deleted as soon, as can be: at most three of them are on the disk.
read_random() {
	local file
	say "making and sealing a file of $random MiB: by firn"
	"$bench" files plain/random 1 $((random << 20))
	prepare_upload
	upload random
	archive random
	say "the same by gpg"
	file=$(list random)
	seal_one_by_gpg random "$file"
	rm -rf plain
	read_anywhere firn "$file"
	rm -rf firn
	read_anywhere gpg "$file"
	rm -rf gpg
}
# seal_one_by_gpg NAME FILE: into an archive of one file, with no tar between.
seal_one_by_gpg() {
	local backup=$1_2026-01-01T01:10:00.000Z sealed
	sealed=gpg/$1/$backup/$2.lz4.gpg
	mkdir -p "${sealed%/*}"
	lz4 -q -c "plain/$1/$2" | gpg --batch --quiet --compress-algo none --trust-model always -r bench@localhost --encrypt >"$sealed"
	archive_info "$1" "$backup" <(sha512sum "plain/$1/$2") <(sha512sum "$sealed")
}
# read_anywhere SEALER FILE
read_anywhere() {
	local sealed figures
	sealed=$(echo "$1"/random/random_*/"$2.lz4.gpg")
	say "reading anywhere in the file that $1 sealed"
	mount_archive "$1/random"
	forget "$sealed"
	figures=$("$bench" random "$files/$2" 1000 65536)
	unmount
	figures+=" $peak"
	say "eight readers side by side in it"
	cat "$sealed" >/dev/null
	mount_archive "$1/random"
	figures+=" $("$bench" readers "$files/$2" 8 $((1 << 30)))"
	unmount
	echo "$figures $peak" >"times/random-$1"
}
# forget FILE: the kernel keeps nothing of it, and of others where it may be told.
dropped=
forget() {
	sync -f "$work"
	dd if="$1" iflag=nocache count=0 status=none
	if { echo 3 >/proc/sys/vm/drop_caches; } 2>/dev/null; then dropped=yes; fi
}

# by_size writes throughput.tsv: MB/s by size of the files, one run each.
by_size() {
	local size count n
	printf 'bytes\tfiles\tupload\tby hand\trestore\tgpg, lz4\tmount\n' >throughput.tsv
	for size in 1024 10240 102400 1048576 10485760 104857600 1073741824; do
		[ $size -le $((large << 20)) ] || break
		count=$(((large << 20) / size))
		[ $count -le 1000 ] || count=1000
		n=$(((256 << 20) / size)) # by hand, no more than that
		[ $n -ge 1 ] || n=1
		[ $n -le 50 ] || n=50
		[ $n -le $count ] || n=$count
		say "files of $size bytes: $count, by hand $n"
		"$bench" files plain/size $count $size
		{
			printf '%d\t%d' $size $count
			throughput $size $count $n
			echo
		} >>throughput.tsv
		discard plain firn hand restored
	done
}
throughput() { # throughput BYTES COUNT COUNTBYHAND
	local names
	mapfile -t names < <(list size | sed "$3q")
	prepare_upload
	upload size
	rate $(($1 * $2))
	archive size
	prepare_hand size 0
	by_hand seal_by_hand size 0 "${names[@]}"
	rate $(($1 * $3))
	restore firn/size
	rate $(($1 * $2))
	by_hand open_by_hand "$(echo firn/size/size_*)" "${names[@]}"
	rate $(($1 * $3))
	from_mount firn/size cat_all
	rate $(($1 * $2))
}
rate() { awk "BEGIN { printf \"\t%.3f\", $1 / 1e6 / $seconds }"; } # rate BYTES
