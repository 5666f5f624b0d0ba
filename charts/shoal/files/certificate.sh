#!/bin/sh
# Make this node's certificate where there is none that still serves: certificate.sh CA TLS SCRATCH
# CA: ca.key, and ca.pem with its certificate, among those of other CAs while the CA is replaced.
# TLS: kept on the node; gets ca.pem, node.pem, node.key. SCRATCH: in memory.
# The node's id is made of its key: that is made anew only where there is none. A certificate that ends
# within 30 days, or is of another CA than ca.key, is renewed for the same key.
# Where the agent can start with what is here, no failure (a full disk, a Secret that is half replaced)
# keeps it away: containers that run have their files from it.
set -eu
ca=$1 tls=$2 work=$3/pki
name=$(printf %s "${NODE_NAME:-node}" | cut -c 1-63) # for people to read
umask 077

# The certificate of ca.key.
find_issuer() {
  key=$(openssl pkey -in "$ca/ca.key" -pubout)
  awk -v start="$work/issuer-" '/-----BEGIN CERTIFICATE-----/ { n++ } n { print >(start n) }' "$ca/ca.pem"
  for issuer in "$work"/issuer-*; do
    if [ "$(openssl x509 -in "$issuer" -noout -pubkey)" = "$key" ]; then return 0; fi
  done
  echo "none of the certificates in ca.pem is that of ca.key" >&2
  return 1
}

has_key() {
  openssl pkey -in "$tls/node.key" -noout >/dev/null 2>&1
}

fits() {
  has_key && [ "$(openssl x509 -in "$tls/node.pem" -noout -pubkey 2>/dev/null)" = "$(openssl pkey -in "$tls/node.key" -pubout)" ]
}

serves() {
  fits && openssl verify -no_check_time -partial_chain -CAfile "$issuer" "$tls/node.pem" >/dev/null 2>&1 &&
    openssl x509 -in "$tls/node.pem" -noout -checkend 2592000 >/dev/null
}

put() { # FILE...: all of them or, where there is no room, none
  for file; do cp "$work/$file" "$tls/.$file.new"; done
  for file; do mv "$tls/.$file.new" "$tls/$file"; done
}

renew() {
  [ -e "$ca/ca.pem" ] && [ -e "$ca/ca.key" ] || {
    echo "there is no Secret with the CA's ca.pem and ca.key" >&2
    return 1
  }
  rm -rf "$work"
  mkdir "$work"
  cp "$ca/ca.pem" "$ca/ca.key" "$work"
  find_issuer
  if serves; then
    put ca.pem
    echo "the certificate that is here serves: $(openssl x509 -in "$tls/node.pem" -noout -subject -enddate | tr '\n' ' ')"
    return 0
  fi
  if has_key; then cp "$tls/node.key" "$work/$name.key"; fi
  shoal pki node "$work" "$name" >/dev/null
  if [ "$name" != node ]; then
    mv "$work/$name.key" "$work/node.key"
    mv "$work/$name.pem" "$work/node.pem"
  fi
  put ca.pem node.key node.pem
  echo "a new certificate for $name"
}

# In a shell of its own, so that a step that fails is the last one.
renew &
wait $! && failed= || failed=yes
rm -rf "$work" "$tls"/.*.new
[ -n "$failed" ] || exit 0
[ -s "$tls/ca.pem" ] && fits || exit 1
echo "that failed: what is here stays, and is tried again when the pod is replaced" >&2
