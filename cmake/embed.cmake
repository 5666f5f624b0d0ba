# Make a C array of a file: cmake -DIN=file -DOUT=file.c -DNAME=name -P embed.cmake
file(READ ${IN} hex HEX)
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
file(WRITE ${OUT} "#include \"${NAME}.h\"\nconst unsigned char ${NAME}[] = { ${bytes} };
const size_t ${NAME}_bytes = sizeof(${NAME});\n")
