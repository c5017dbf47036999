# Draws bench.sh's throughput.tsv: gnuplot -c bench-plot.gp throughput.tsv throughput.svg
set terminal svg size 960,600 font "sans-serif,16" background "white"
set output ARG2
set datafile separator "\t"
set logscale xy
set title "Throughput by file size" font ",20"
set xlabel "size of each file"
set ylabel "plain data, MB/s"
set xrange [700:1.6e9]
set xtics ("1 KiB" 1024, "10 KiB" 10240, "100 KiB" 102400, "1 MiB" 1048576, "10 MiB" 10485760, "100 MiB" 104857600, "1 GiB" 1073741824)
set format y "%g"
set grid xtics ytics linetype 1 linecolor "#cccccc" linewidth 0.8
set border linewidth 1.2
set key inside bottom right Left reverse samplen 3 spacing 1.2
set style data linespoints
# Colours that the colour-blind tell apart; solid is firn, dashed is by hand:
# shasum, lz4 | gpg, shasum, tar to seal, gpg | lz4 to nowhere to open.
plot ARG1 using 1:3 skip 1 lc "#d55e00" lw 3 pt 7 ps 0.9 title "seal: firn upload", \
     "" using 1:4 skip 1 lc "#d55e00" lw 2 dt 2 pt 6 ps 0.9 title "seal: by hand", \
     "" using 1:5 skip 1 lc "#0072b2" lw 3 pt 5 ps 0.9 title "open: firn restore", \
     "" using 1:7 skip 1 lc "#009e73" lw 3 pt 9 ps 1.1 title "open: cat in the mount", \
     "" using 1:6 skip 1 lc "#0072b2" lw 2 dt 2 pt 4 ps 0.9 title "open: by hand"
