# Draws bench-scale.sh's summary.tsv: gnuplot -c bench-scale.gp summary.tsv scale.svg
set terminal svg size 1280,600 font "sans-serif,15" background "white"
set output ARG2
set datafile separator "\t"
stats ARG1 using 1 nooutput name "FILES"
stats ARG1 using 3 nooutput name "SECONDS"
set logscale xy
set xrange [FILES_min / 1.5:FILES_max * 1.5]
set xlabel "files"
set format x "%.0s%c"
set format y "%g"
set grid xtics ytics linetype 1 linecolor "#cccccc" linewidth 0.8
set border linewidth 1.2
set style data linespoints
rows(what) = sprintf("< awk -F '\\t' '$2 == \"%s\"' '%s' | sort -n", what, ARG1)
# Colours that the colour-blind tell apart; dashed is what only reads lists.
whats = "backup night archive carry verify restore catalog mount find ls rsync"
array texts[11] = ["first backup", "night without changes", "archive it, all new", "archive it, all carried", "verify", "restore 10,000 files", "catalog, 60 versions", "mount until ready", "find", "ls -l of one folder", "rsync --dry-run"]
array colours[11] = ["#d55e00", "#e69f00", "#0072b2", "#56b4e9", "#009e73", "#cc79a7", "#000000", "#999999", "#d55e00", "#0072b2", "#009e73"]
array points[11] = [7, 7, 5, 5, 9, 11, 13, 3, 6, 4, 8]
array dashes[11] = [1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2]

set multiplot
set tmargin at screen 0.9
set bmargin at screen 0.12
set lmargin at screen 0.07
set rmargin at screen 0.40
set title "Time" font ",19"
set ylabel "seconds"
set yrange [SECONDS_min / 2:SECONDS_max * 2]
unset key
# Along a grey line, ten times the files take ten times the time.
plot for [k = -8:0] 10.0 ** k * x lw 0.8 lc rgb "#dddddd" with lines notitle, \
     for [i = 1:11] rows(word(whats, i)) using 1:3 lc rgb colours[i] lw 2 dt dashes[i] pt points[i] ps 0.9 notitle

set lmargin at screen 0.47
set rmargin at screen 0.80
set title "Memory"
set ylabel "peak, MiB"
set yrange [16:1024]
set ytics 2
set key at screen 0.81, screen 0.87 left Left reverse samplen 3 spacing 1.3
plot for [i = 1:11] rows(word(whats, i)) using 1:($4 / 1024) lc rgb colours[i] lw 2 dt dashes[i] pt points[i] ps 0.9 title texts[i]
unset multiplot
