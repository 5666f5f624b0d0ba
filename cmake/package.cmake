# What `cmake --install` puts where, and the Debian package that `cpack` makes of it.
include(GNUInstallDirs)
install(TARGETS shoald RUNTIME DESTINATION ${CMAKE_INSTALL_SBINDIR})
install(TARGETS shoal RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(FILES tools/package/shoal.service DESTINATION lib/systemd/system)
install(FILES tools/package/shoal.yaml DESTINATION ${CMAKE_INSTALL_FULL_SYSCONFDIR}/shoal)
file(GLOB docs CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/docs/*.md)
install(FILES README.md ${docs} tools/package/copyright DESTINATION ${CMAKE_INSTALL_DOCDIR})

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME shoal)
set(CPACK_PACKAGE_CONTACT "The shoal authors <maintainers@shoal.invalid>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "node agent that mounts container images lazily")
set(CPACK_DEBIAN_PACKAGE_DESCRIPTION
"shoal mounts container images (nydus, RAFS v6 and v5) before they are
 downloaded: a chunk is fetched when somebody reads it, checked against its
 digest, and kept. What a node has is never fetched again.")
set(CPACK_DEBIAN_PACKAGE_SECTION admin)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
file(WRITE ${PROJECT_BINARY_DIR}/package/conffiles "/etc/shoal/shoal.yaml\n")
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA
  ${PROJECT_SOURCE_DIR}/tools/package/postinst ${PROJECT_SOURCE_DIR}/tools/package/prerm
  ${PROJECT_SOURCE_DIR}/tools/package/postrm ${PROJECT_BINARY_DIR}/package/conffiles)
include(CPack)
