# bash completion for post(1); source it, or install it as
# /usr/share/bash-completion/completions/post

_post() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}
	local verbs="init mount umount status log import export scrub doctor
		sim help"
	local common="--home --passphrase-fd --passphrase-command
		--passphrase-file --help --version"
	local verb= options= i

	for ((i = 1; i < COMP_CWORD; i++)); do
		case " $verbs " in
		*[[:space:]]"${COMP_WORDS[i]}"[[:space:]]*)
			verb=${COMP_WORDS[i]}
			break ;;
		esac
	done
	case $prev in
	--home)
		COMPREPLY=($(compgen -d -- "$cur"))
		return ;;
	--passphrase-file | --mbox | --trace)
		COMPREPLY=($(compgen -f -- "$cur"))
		return ;;
	--passphrase-command)
		COMPREPLY=($(compgen -c -- "$cur"))
		return ;;
	--owner)
		COMPREPLY=($(compgen -u -- "$cur"))
		return ;;
	--user | --folder | --max | --path | --passphrase-fd)
		return ;;
	--nodes | --seed | --hours | --minutes | --session | --lookups | \
	    --loss | --broken | --leaf-half)
		return ;;
	--topology)
		COMPREPLY=($(compgen -W "torus transit" -- "$cur"))
		return ;;
	--faults)
		COMPREPLY=($(compgen -W "random usual" -- "$cur"))
		return ;;
	-o)
		COMPREPLY=($(compgen -W "allow_other ro subtree= home=
			passphrase-file= noexec noatime" -- "$cur"))
		return ;;
	esac
	case $verb in
	'')	COMPREPLY=($(compgen -W "$verbs $common" -- "$cur"))
		return ;;
	init)	options="--user --owner --passphrase --recover" ;;
	mount)	options="-f -o" ;;
	status)	options="--json --watch" ;;
	log)	options="--user --max --json --watch" ;;
	import)	options="--user --folder --mboxrd --quiet" ;;
	export)	options="--user --folder --mbox --no-status --quiet" ;;
	scrub)	options="--path --repair --rebuild --json" ;;
	doctor)	options="--json" ;;
	sim)	options="--nodes --seed --hours --minutes --session --lookups
			--loss --broken --leaf-half --topology --faults --trace
			--json" ;;
	help)	COMPREPLY=($(compgen -W "$verbs" -- "$cur"))
		return ;;
	esac
	case $cur in
	-*)	COMPREPLY=($(compgen -W "$options $common" -- "$cur")) ;;
	*)	case $verb in
		mount)	COMPREPLY=($(compgen -d -- "$cur")) ;;
		sim)	COMPREPLY=($(compgen -W "$(post sim list 2>/dev/null |
				awk '{ print $1 }') list" -- "$cur")) ;;
		umount)	COMPREPLY=($(compgen -W "$(awk '$3 == "fuse.post" {
				print $2 }' /proc/mounts)" -- "$cur")) ;;
		import | export)
			COMPREPLY=($(compgen -f -- "$cur")) ;;
		esac ;;
	esac
}

complete -o filenames -F _post post
