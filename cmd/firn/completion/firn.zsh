#compdef firn
# Completion of firn for zsh.
_firn() {
	local line
	local -a found
	for line in "${(@f)$("${words[1]}" __complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
		case $line in
		:files) compset -P '--*='; _files; return ;;
		:folders) compset -P '--*='; _files -/; return ;;
		?*) found+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}") ;;
		esac
	done
	_describe -V firn found
}
if [ "$funcstack[1]" = _firn ]; then
	_firn "$@"
else
	compdef _firn firn
fi
