#!/bin/sh
# Make this node's certificate where there is none that still serves: certificate.sh CA TLS SCRATCH
# CA: ca.pem and ca.key. TLS: kept on the node; gets ca.pem, node.pem, node.key. SCRATCH: in memory.
# The node's id is made of its key: that is made anew only when it is lost, or its certificate is of
# another CA. A certificate that ends within 30 days is renewed for the same key.
set -eu
ca=$1 tls=$2 scratch=$3
umask 077

fits() {
  [ -s "$tls/node.pem" ] && [ -s "$tls/node.key" ] &&
    openssl verify -no_check_time -CAfile "$ca/ca.pem" "$tls/node.pem" >/dev/null 2>&1 &&
    [ "$(openssl x509 -in "$tls/node.pem" -noout -pubkey)" = "$(openssl pkey -in "$tls/node.key" -pubout)" ]
}

serves() {
  fits && openssl x509 -in "$tls/node.pem" -noout -checkend 2592000 >/dev/null
}

put() { # FILE AS: whole or not at all
  cp "$1" "$tls/.$2.new"
  mv "$tls/.$2.new" "$tls/$2"
}

put "$ca/ca.pem" ca.pem
if serves; then
  echo "the certificate that is here serves: $(openssl x509 -in "$tls/node.pem" -noout -subject -enddate | tr '\n' ' ')"
  exit 0
fi
rm -rf "$scratch/pki"
mkdir "$scratch/pki"
cp "$ca/ca.pem" "$ca/ca.key" "$scratch/pki"
name=$(printf %s "${NODE_NAME:-node}" | cut -c 1-63) # for people to read
if fits; then cp "$tls/node.key" "$scratch/pki/$name.key"; fi
shoal pki node "$scratch/pki" "$name" >/dev/null
put "$scratch/pki/$name.key" node.key
put "$scratch/pki/$name.pem" node.pem
rm -rf "$scratch/pki"
echo "a new certificate for $name"
